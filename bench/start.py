"""`python -m bench.start [--package ZIP]`: what a worker pays to import the app, against azure.functions alone.

Prints one JSON line: `import_ms` (function_app with the sample's settings), `baseline_ms` (azure.functions),
`ratio`. Each import in a new interpreter, median of 7, the two taken in turn; bytecode is warm. With a package as
`make package` makes it, its own files and bytecode alone are used, which needs Python 3.13.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 7
_PROGRAM = """
import sys, time
sys.path[:0] = sys.argv[2:]
began = time.perf_counter()
__import__(sys.argv[1])
print((time.perf_counter() - began) * 1000)
"""


def import_ms(module: str, environment: dict[str, str], command: list[str], paths: list[Path]) -> float:
    run = subprocess.run(
        [*command, "-c", _PROGRAM, module, *(str(path) for path in paths)],
        cwd=paths[0], env=environment, capture_output=True, check=True,
    )
    return float(run.stdout)


def measure(command: list[str], paths: list[Path]) -> dict[str, float]:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text("utf-8"))["Values"]
    environment = {**os.environ, **sample}
    modules = ("function_app", "azure.functions")
    for module in modules:
        import_ms(module, environment, command, paths)  # writes bytecode where it is missing, and warms the disk
    rounds = [[import_ms(module, environment, command, paths) for module in modules] for _ in range(RUNS)]
    app, baseline = (statistics.median(taken) for taken in zip(*rounds, strict=True))
    return {"import_ms": round(app, 1), "baseline_ms": round(baseline, 1), "ratio": round(app / baseline, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path)
    package: Path | None = parser.parse_args().package
    if package is None:
        print(json.dumps(measure([sys.executable], [ROOT])))
        return
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
        paths = [Path(folder), Path(folder) / ".python_packages" / "lib" / "site-packages"]
        print(json.dumps(measure([getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-B"], paths)))


if __name__ == "__main__":
    main()
