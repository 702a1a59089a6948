"""Workers killed, vendors failing, storage restarted, a worker that wakes up late: nobody twice, nobody forgotten."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.harness import Run, running
from tests.chaos.plan import Plan


@pytest.mark.timeout(1200)
def test_five_kills_and_one_request_in_twenty_failing(tmp_path: Path, count_storage: Callable[[int], None]) -> None:
    """300 messages, one in five an e-mail: confirmations, then changes, cancellations and reminders of these visits."""
    plan = Plan(count=143, mixed=True, kills=5, fault_rate=0.05, restart_storage=True, slow_worker=True, hasty=True,
                latency_s=0.03, within_s=480)  # fmt: skip
    with running(tmp_path / "sandbox", plan) as live:
        run = Run(live, plan)
        found = run.carry_out()
        count_storage(live.sandbox.azurite.operations)
        assert (found.duplicates, found.lost, found.unexplained) == (0, 0, 0), found.problems
        assert found.sent + found.uncertain == plan.messages == 300, found.rules
        assert found.kills == plan.kills and found.faults > 0
        assert len(live.world.mail) >= plan.count // 5, "one in five patients has no telephone"
        assert found.in_flight > 0, "no worker died between claim and record"
        assert found.uncertain > 0, "no message of a dead worker had changed meanwhile"
        for cause in (run.kills, run.stopped_storage, live.world.suffered):
            cause.clear()
        assert run.judge().unexplained > 0, "what nobody killed has no explanation"
