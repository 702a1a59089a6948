"""`python -m tests.chaos`: 10,000 messages and 50 kills, then a run in which ACS forgets repeatability ids.

Prints a line of figures for each; exit code 1 when a message was lost, or sent twice where it must not be.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.harness import Run, running
from tests.chaos.plan import Plan, Verdict


def play(plan: Plan) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        with running(Path(folder) / "sandbox", plan) as live:
            found = Run(live, plan).carry_out()
    for problem in found.problems[:20]:
        sys.stderr.write(f"{problem}\n")
    return found


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.chaos")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--within", type=float, default=3600, help="seconds for each phase")
    given = options.parse_args()
    visits = round(given.count / 2.1)  # each has a confirmation, most a reminder, some a change or a cancellation
    plan = Plan(visits, mixed=True, kills=given.kills, fault_rate=0.05, restart_storage=True, slow_worker=True,
                seed=given.seed, within_s=given.within)  # fmt: skip
    found = play(plan)
    sys.stdout.write(f"{found.line()}\n")
    sys.stdout.flush()
    wrong = found.duplicates or found.lost or found.unexplained or found.sent + found.uncertain != plan.messages
    few, deaths = max(100, given.count // 20), max(2, given.kills // 10)
    forgetful = play(Plan(few, kills=deaths, repeatability_off=True, seed=given.seed, within_s=given.within))
    sys.stdout.write(f"{forgetful.line()} in_flight={forgetful.in_flight} repeatability=off\n")
    return int(bool(wrong or forgetful.lost or not 0 < forgetful.duplicates <= forgetful.in_flight))


if __name__ == "__main__":
    sys.exit(main())
