"""`python -m bench.start`: what a worker pays to import the app, against azure.functions alone.

Prints one JSON line: `import_ms` (function_app with the sample's settings), `baseline_ms` (azure.functions),
`ratio`. Each import in a new interpreter with warm bytecode, median of 7, the two taken in turn.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 7
_PROGRAM = """
import sys, time
began = time.perf_counter()
__import__(sys.argv[1])
print((time.perf_counter() - began) * 1000)
"""


def import_ms(module: str, environment: dict[str, str]) -> float:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, module], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    return float(run.stdout)


def main() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    environment = {**os.environ, **sample}
    modules = ("function_app", "azure.functions")
    for module in modules:
        import_ms(module, environment)  # writes bytecode
    rounds = [[import_ms(module, environment) for module in modules] for _ in range(RUNS)]
    app, baseline = (statistics.median(taken) for taken in zip(*rounds, strict=True))
    figures = {"import_ms": round(app, 1), "baseline_ms": round(baseline, 1), "ratio": round(app / baseline, 2)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
