"""`python -m tests.chaos`: 10,000 messages and 50 kills, then a run in which ACS forgets repeatability ids.

Prints a line of figures for each; exit code 1 when a message was lost, or sent twice where it must not be.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.harness import Plan, Run, Verdict, running


def play(plan: Plan) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        with running(Path(folder) / "sandbox", plan.workers) as live:
            found = Run(live, plan).carry_out()
    for problem in found.problems[:20]:
        sys.stderr.write(f"{problem}\n")
    return found


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.chaos")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    found = play(
        Plan(
            given.count,
            given.kills,
            fault_rate=0.05,
            restart_storage=True,
            slow_worker=True,
            seed=given.seed,
            within_s=3600,
        )
    )
    sys.stdout.write(f"{found.line()}\n")
    sys.stdout.flush()
    wrong = found.duplicates or found.lost or found.unexplained or found.sent + found.uncertain != given.count
    few, deaths = max(100, given.count // 20), max(2, given.kills // 10)
    forgetful = play(Plan(few, deaths, repeatability_off=True, seed=given.seed, within_s=1200))
    sys.stdout.write(f"{forgetful.line()} in_flight={forgetful.in_flight} repeatability=off\n")
    return int(bool(wrong or forgetful.lost or not 0 < forgetful.duplicates <= forgetful.in_flight))


if __name__ == "__main__":
    sys.exit(main())
