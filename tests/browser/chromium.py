"""Finds a Chromium that runs: CHROMIUM_PATH, Debian's, or the one packed in npm @sparticuz/chromium.

The package unpacks its brotli archives into the system's temporary folder (its README, "executablePath");
TMPDIR makes that a folder of the clone, once. Its fonts.conf names folders of AWS Lambda, so ours replaces
it: without any font a text has no size. Its NSS libraries serve only where the system has none.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sandbox.azurite import node

_ROOT = Path(__file__).parent.parent.parent
_CACHE = _ROOT / ".cache"
_UNPACK = "import('@sparticuz/chromium').then(m => m.default.executablePath())"
_FONTS = """<?xml version="1.0"?>
<fontconfig>
  <dir>{folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""

PATIENCE_MS = 45_000
"""How long a test waits for what it expects: a machine under load is slow, not wrong."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


def find() -> tuple[Path, dict[str, str]]:
    """The executable and the environment to start it with."""
    for candidate in (os.environ.get("CHROMIUM_PATH"), "/usr/bin/chromium"):
        if candidate and Path(candidate).exists():
            return Path(candidate), dict(os.environ)
    folder = _CACHE / "chromium"
    if not folder.exists():
        _unpack(folder)
    (folder / "fonts.conf").write_text(_FONTS.format(folder=folder))
    environment = os.environ | {"FONTCONFIG_FILE": str(folder / "fonts.conf")}
    if _lacks_libraries(folder / "chromium"):
        environment["LD_LIBRARY_PATH"] = str(folder / "al2023" / "lib")
    return folder / "chromium", environment


def _unpack(folder: Path) -> None:
    _CACHE.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=_CACHE))
    # AWS_EXECUTION_ENV makes the package unpack its libraries too.
    environment = os.environ | {"TMPDIR": str(partial), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
    subprocess.run([node(), "-e", _UNPACK], cwd=_ROOT, env=environment, check=True, capture_output=True)
    try:
        partial.rename(folder)  # whole or not at all
    except OSError:  # another run was faster
        shutil.rmtree(partial)


def _lacks_libraries(executable: Path) -> bool:
    ldd = shutil.which("ldd")
    if ldd is None:
        return False
    listing = subprocess.run([ldd, executable], capture_output=True, text=True, check=False).stdout
    return "not found" in listing
