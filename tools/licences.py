"""`make licences`: writes docs/licences.md from what the deployed packages say of themselves.

A package's own licence text ships with it, in the package that Azure runs.
"""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program its folder is on the path, not the repository

from tools.package import wanted  # noqa: E402

SPDX = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD license": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""Words of package metadata for what SPDX names."""
PAGE = """\
# Licences of what is deployed

Made by `make licences` from the packages' own metadata; a test keeps it so. This project itself is under the
[MIT licence](../LICENSE). Each package's licence text is in the deployed package, beside its code.

| Package | Licence |
|---|---|
{rows}

Files of others among ours, with their licence beside them: {vendored}.
"""


def licence_of(package: str) -> str:
    """An SPDX expression, or "" when the package says nothing that is understood."""
    said = metadata(package)
    named = said.get("License-Expression") or said.get("License") or ""
    if named and "\n" not in named:
        return SPDX.get(named, named)
    listed = said.get_all("Classifier") or []
    classifiers = [line.rsplit(" :: ", 1)[-1] for line in listed if line.startswith("License")]
    return SPDX.get(classifiers[0], "") if classifiers else ""


def page() -> str:
    lines = wanted((ROOT / "requirements.txt").read_text("utf-8")).splitlines()
    rows = [f"| {name} | {licence_of(name)} |" for name in (line.split("==")[0] for line in lines)]
    texts = sorted((ROOT / "connector").rglob("*.LICENSE.txt"))
    vendored = ", ".join(f"`{text.name.removesuffix('.LICENSE.txt')}` ({_named(text)})" for text in texts)
    return PAGE.format(rows="\n".join(rows), vendored=vendored)


def _named(text: Path) -> str:
    return "Apache-2.0" if "Apache License" in text.read_text("utf-8")[:200] else ""


if __name__ == "__main__":
    (ROOT / "docs" / "licences.md").write_text(page(), "utf-8")
