"""`make package`: the zip that Azure Functions runs, with its dependencies and bytecode inside.

For Linux on x86-64 with Python 3.13, whatever Python runs this. Prints one JSON line: `path` (from the repository's
root), `bytes`, `files`, `sha256`. The same sources, packages and Python 3.13 give the same bytes: files in order, one
date, one hash seed.

Bytecode needs a Python 3.13 (`unchecked-hash`, PEP 552: the worker compares nothing with the source). Where none is
found the package is made without, and says so: each cold start then takes about twice as long.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / ".cache" / "wheels"
VERSION = "3.13"
PACKAGES = ".python_packages/lib/site-packages"
"""Where the Functions host looks for an app's packages (Python developer guide, "Custom dependencies")."""
AZURE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{VERSION}.0",
    "python_version": VERSION,
    "sys_platform": "linux",
}
"""Environment markers (PEP 508) of the worker; pip itself evaluates those of the Python it runs on."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_5_x86_64")
SOURCES = (".py", ".html", ".txt", ".css", ".js", ".svg", ".json", ".po", ".mo")
PRUNED = (
    "bin",  # commands
    "**/tests",
    "**/*.pyi",
    "*.dist-info/INSTALLER",
    "*.dist-info/RECORD",  # would name what is pruned
    "*.dist-info/REQUESTED",
    "phonenumbers/carrierdata",  # names of carriers, places and time zones of numbers: nothing here asks for them
    "phonenumbers/geodata",
    "phonenumbers/tzdata",
    "fhir/resources/STU3",  # Cerner speaks R4: only R4B is used, and it stands alone
    "fhir/resources/[!_]*.py",
)


def wanted(requirements: str) -> str:
    """The requirements that the worker needs, as pip reads them: name, version and hashes, without markers."""
    kept = []
    for entry in requirements.replace("\\\n", " ").splitlines():
        line = entry.partition("#")[0].strip()
        text, *hashes = line.split(" --hash=")
        if not line:
            continue
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(AZURE):
            kept.append(" --hash=".join([f"{requirement.name}{requirement.specifier}", *(h.strip() for h in hashes)]))
    return "\n".join(kept) + "\n"


def install(target: Path, requirements: str, listed: Path) -> None:
    """Unpack the wheels into `target`; from the network only what .cache/wheels does not have."""
    listed.write_text(requirements, "utf-8")
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    chosen = [f"--python-version={VERSION}", "--implementation=cp", f"--abi=cp{VERSION.replace('.', '')}", "--abi=abi3"]
    common = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(listed), *platforms, *chosen]
    # the pins say what fits; pip would ask the Python it runs on
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--ignore-requires-python"]
    pip = [sys.executable, "-m", "pip"]
    stamp, pins = WHEELS / ".stamp", hashlib.sha256(requirements.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text("ascii") != pins:
        shutil.rmtree(WHEELS, ignore_errors=True)
        subprocess.run([*pip, "download", *quiet, "--no-cache-dir", "--dest", str(WHEELS), *common], check=True)  # noqa: S603
        stamp.write_text(pins, "ascii")
    from_wheels = ["--no-index", "--find-links", str(WHEELS), "--no-compile", "--target", str(target)]
    subprocess.run([*pip, "install", *quiet, *from_wheels, *common], check=True)  # noqa: S603


def prune(packages: Path) -> None:
    for pattern in PRUNED:
        for path in sorted(packages.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def copy_app(folder: Path) -> None:
    for path in (ROOT / "function_app.py", ROOT / "host.json", *sorted((ROOT / "connector").rglob("*"))):
        if path.is_file() and path.suffix in SOURCES and "__pycache__" not in path.parts:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def python() -> str | None:
    """A Python 3.13, or None."""
    if sys.version_info[:2] == (3, 13):
        return sys.executable
    search = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    found = subprocess.run([ROOT / "tools" / "find_python.sh"], env=search, capture_output=True, check=False)  # noqa: S603
    path = found.stdout.decode().strip()
    return path if path and VERSION in _version(path) else None


def _version(path: str) -> str:
    return subprocess.run([path, "-V"], capture_output=True, check=False).stdout.decode()  # noqa: S603


def compile_all(folder: Path, interpreter: str) -> None:
    """In one process and in order: what a string shares with others before it shows in the bytecode."""
    command = [interpreter, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    stripped = ["-s", str(folder), "-p", "/home/site/wwwroot", str(folder)]
    subprocess.run([*command, *stripped], env={**os.environ, "PYTHONHASHSEED": "0"}, check=True)  # noqa: S603


def pack(folder: Path, archive: Path) -> dict[str, str | int]:
    archive.parent.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as made:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # of 1980-01-01
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            made.writestr(entry, path.read_bytes())
    content = archive.read_bytes()
    shown = archive.relative_to(ROOT) if archive.is_relative_to(ROOT) else archive
    return {
        "path": str(shown),
        "bytes": len(content),
        "files": len(paths),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "connector.zip")
    out: Path = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "app"
        packages = folder / PACKAGES
        packages.mkdir(parents=True)
        pins = wanted((ROOT / "requirements.txt").read_text("utf-8"))
        install(packages, pins, Path(scratch) / "requirements.txt")
        prune(packages)
        copy_app(folder)
        if interpreter := python():
            compile_all(folder, interpreter)
        else:
            sys.stderr.write(f"No Python {VERSION} here: the package has no bytecode, and starts at half the speed.\n")
        sys.stdout.write(json.dumps(pack(folder, out)) + "\n")


if __name__ == "__main__":
    main()
