"""`make release VERSION=1.2.3`: turns what is unreleased in CHANGELOG.md into a version, commits and tags it.

Pushes nothing: `git push --follow-tags` does, and GitHub makes the release of the tag. `--notes v1.2.3` prints what the
changelog says of a version. Refuses a version that is not the next one by Semantic Versioning: patch for fixes, minor
for anything added or changed, major where something is removed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

CHANGELOG = "CHANGELOG.md"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_HEADING = re.compile(r"^## \[(.+?)\].*$", re.MULTILINE)


class Refused(Exception):
    """What stands against the release."""


def sections(changelog: str) -> dict[str, str]:
    """What is said of each version, in the file's order; `Unreleased` comes first."""
    found = list(_HEADING.finditer(changelog))
    ends = [*(one.start() for one in found[1:]), len(changelog)]
    return {one[1]: changelog[one.end() : end].strip() for one, end in zip(found, ends, strict=True)}


def next_versions(before: str | None, unreleased: str) -> set[str]:
    """The versions that may follow, by what is unreleased."""
    if before is None:
        return {"0.1.0", "1.0.0"}
    found = _VERSION.fullmatch(before)
    if found is None:
        raise Refused(f"{before} in {CHANGELOG} is no version")
    major, minor, patch = map(int, found.groups())
    kinds = set(re.findall(r"^### (\w+)", unreleased, re.MULTILINE))
    bigger = {f"{major + 1}.0.0"} | ({f"{major}.{minor + 1}.0"} if "Removed" not in kinds or major == 0 else set())
    return bigger | ({f"{major}.{minor}.{patch + 1}"} if kinds <= {"Fixed", "Security"} else set())


def released(changelog: str, version: str, day: str) -> str:
    """The changelog with what was unreleased under the version. Raises Refused."""
    known = sections(changelog)
    unreleased = known.get("Unreleased", "")
    if not unreleased:
        raise Refused(f"nothing is unreleased in {CHANGELOG}")
    allowed = next_versions(next((name for name in known if name != "Unreleased"), None), unreleased)
    if version not in allowed:
        raise Refused(f"{version} does not follow: {', '.join(sorted(allowed))} would")
    return changelog.replace("## [Unreleased]", f"## [Unreleased]\n\n## [{version}] - {day}", 1)


def release(root: Path, version: str) -> None:
    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
        if run.returncode:
            raise Refused(run.stderr.strip())
        return run.stdout.strip()

    if git("status", "--porcelain"):
        raise Refused("there are changes that are not committed")
    if git("rev-parse", "--abbrev-ref", "HEAD") != "main":
        raise Refused("releases are made on main")
    path = root / CHANGELOG
    path.write_text(released(path.read_text("utf-8"), version, datetime.now(UTC).date().isoformat()), "utf-8")
    notes = sections(path.read_text("utf-8"))[version]
    git("commit", "--quiet", "--message", f"release: {version}", CHANGELOG)
    git("tag", "--annotate", "--cleanup=verbatim", f"v{version}", "--message", f"{version}\n\n{notes}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--notes", action="store_true")
    chosen = parser.parse_args()
    root = Path.cwd()
    try:
        if chosen.notes:
            known = sections((root / CHANGELOG).read_text("utf-8"))
            sys.stdout.write(known[chosen.version.removeprefix("v")] + "\n")
        else:
            release(root, chosen.version)
            sys.stdout.write(f"v{chosen.version} is tagged. To publish it: git push --follow-tags\n")
    except (Refused, KeyError) as error:
        sys.stderr.write(f"Not released: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
