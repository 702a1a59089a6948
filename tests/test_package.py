"""`make package`: what is in the zip, that it is the same each time, and that it runs with nothing else."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
from packaging.utils import canonicalize_name

from tests.guards.declared import declared_functions, every_region
from tests.guards.source import ROOT
from tools.package import wanted

SITE = ".python_packages/lib/site-packages/"
SECONDS = 400  # the first time the wheels come from the network


class Package(NamedTuple):
    printed: dict[str, Any]
    folder: Path
    """Unpacked."""
    names: set[str]


def make(out: Path, **environment: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "package.py"), "--out", str(out)],
        env={**os.environ, **environment}, cwd=ROOT, capture_output=True, timeout=SECONDS, check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    printed: dict[str, Any] = json.loads(run.stdout)
    return printed


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    place = tmp_path_factory.mktemp("package")
    printed = make(place / "first.zip")
    with zipfile.ZipFile(place / "first.zip") as archive:
        archive.extractall(place / "app")
        return Package(printed, place / "app", set(archive.namelist()))


def test_it_holds_the_app_its_packages_and_nothing_else(package: Package) -> None:
    assert {name.split("/")[0] for name in package.names} - {"__pycache__"} == {
        ".python_packages", "connector", "function_app.py", "host.json",
    }
    assert {name for name in package.names if name.startswith(".")} == {n for n in package.names if n.startswith(SITE)}
    app = {path.relative_to(ROOT).as_posix() for path in (ROOT / "connector").rglob("*") if path.is_file()}
    ours = {name for name in package.names if name.startswith("connector/")}
    assert {name for name in ours if "__pycache__" not in name} == {name for name in app if "__pycache__" not in name}
    shipped = {name.removeprefix(SITE).split("-")[0] for name in package.names if name.endswith(".dist-info/METADATA")}
    lines = wanted((ROOT / "requirements.txt").read_text("utf-8")).splitlines()
    assert {canonicalize_name(name) for name in shipped} == {canonicalize_name(line.split("==")[0]) for line in lines}


def test_what_it_prints_is_so(package: Package) -> None:
    assert set(package.printed) == {"path", "bytes", "files", "sha256"}
    assert package.printed["files"] == len(package.names)
    assert package.printed["bytes"] == Path(package.printed["path"]).stat().st_size < 40_000_000


def test_every_module_has_bytecode_that_asks_for_no_source(package: Package) -> None:
    """Python 3.13, PEP 552 unchecked hash: flags 1."""
    sources = [name for name in package.names if name.endswith(".py")]
    for name in sources:
        path = PurePosixPath(name)
        cached = package.folder / path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc"
        header = cached.read_bytes()[:8]
        assert header[4:] == b"\1\0\0\0", name
        assert header[:4] == MAGIC_NUMBER or sys.version_info[:2] != (3, 13)
    assert len(sources) > 1000


def test_the_same_sources_give_the_same_bytes(package: Package, tmp_path: Path) -> None:
    again = make(tmp_path / "again.zip", PYTHONHASHSEED="7", TMPDIR=str(tmp_path), TZ="Asia/Tokyo")
    assert again["sha256"] == package.printed["sha256"]


def test_requirements_are_those_of_the_worker_whatever_python_asks() -> None:
    text = (
        "one==1 ; python_full_version < '3.13' \\\n    --hash=sha256:aa\n    # via x\n"
        "one==2 ; python_full_version >= '3.13' \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "two==3 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\n"
    )
    assert wanted(text) == "one==2 --hash=sha256:bb --hash=sha256:cc\n"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime needs Python 3.13")
def test_the_worker_indexes_it_with_nothing_else_installed(package: Package, tmp_path: Path) -> None:
    import azure_functions_runtime
    import azurefunctions.extensions.base as extensions

    worker = tmp_path / "worker"
    worker.mkdir()
    (worker / "azure_functions_runtime").symlink_to(Path(azure_functions_runtime.__file__).parent)
    (worker / "azurefunctions").symlink_to(Path(extensions.__file__).parents[2])
    run = subprocess.run(
        [sys._base_executable, "-I", "-S", str(ROOT / "tests" / "package_program.py"),
         str(ROOT), str(package.folder), str(worker)],
        env={**os.environ, **every_region()}, cwd=package.folder, capture_output=True, timeout=280, check=False,
    )
    assert run.returncode == 0, run.stderr.decode()[-4000:]
    found = json.loads(run.stdout)
    assert set(found["bindings"]) == set(declared_functions(every_region()))
    assert found["outside"] == []
    assert found["modules"] > 100
    assert found["kinds"] == ["1"] * len(found["kinds"])
    assert len(found["kinds"]) >= 5
    assert len(found["dates"]) >= 7
    assert found["mobile"] is True
    assert found["page"] == 200
