"""Workers killed, vendors failing, storage restarted, a worker that wakes up late: nobody twice, nobody forgotten."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.harness import Plan, Run, running


@pytest.mark.timeout(600)
def test_five_kills_and_one_request_in_twenty_failing(tmp_path: Path, count_storage: Callable[[int], None]) -> None:
    plan = Plan(count=300, kills=5, fault_rate=0.05, restart_storage=True, slow_worker=True, within_s=480)
    with running(tmp_path / "sandbox", plan.workers) as live:
        found = Run(live, plan).carry_out()
        count_storage(live.sandbox.azurite.operations)
    assert (found.duplicates, found.lost, found.unexplained) == (0, 0, 0), found.problems
    assert found.sent + found.uncertain == plan.count, found.rules
    assert found.kills == plan.kills and found.faults > 0
    assert found.in_flight > 0, "no worker died between claim and record"
