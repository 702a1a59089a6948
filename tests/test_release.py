"""A release is what the changelog says, on main, of a clean tree, with the next version."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.source import ROOT
from tools.release import Refused, next_versions, released, sections

HEAD = "# Changelog\n\nThe form.\n\n"
ADDED = "## [Unreleased]\n\n### Added\n\n- A thing.\n"
FIXED = "## [Unreleased]\n\n### Fixed\n\n- A fault.\n"
ONE = "\n## [1.2.3] - 2026-01-02\n\n### Added\n\n- The first thing.\n"


def test_what_is_unreleased_becomes_the_version() -> None:
    after = released(HEAD + ADDED + ONE, "1.3.0", "2026-11-26")
    assert after == HEAD + "## [Unreleased]\n\n## [1.3.0] - 2026-11-26\n\n### Added\n\n- A thing.\n" + ONE
    assert list(sections(after)) == ["Unreleased", "1.3.0", "1.2.3"]
    assert sections(after)["1.3.0"] == "### Added\n\n- A thing."


@pytest.mark.parametrize(
    ("before", "unreleased", "allowed"),
    [
        (None, ADDED, {"0.1.0", "1.0.0"}),
        ("1.2.3", ADDED, {"1.3.0", "2.0.0"}),
        ("1.2.3", FIXED, {"1.2.4", "1.3.0", "2.0.0"}),
        ("1.2.3", "### Removed\n\n- It.", {"2.0.0"}),
        ("0.2.3", "### Removed\n\n- It.", {"0.3.0", "1.0.0"}),
    ],
)
def test_the_next_version_follows_from_what_changed(before: str | None, unreleased: str, allowed: set[str]) -> None:
    assert next_versions(before, unreleased) == allowed


@pytest.mark.parametrize(
    ("text", "why"), [("## [Unreleased]\n\n" + ONE, "nothing is unreleased"), (ADDED + ONE, "does not follow")]
)
def test_nothing_or_another_version_is_refused(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        released(HEAD + text, "1.2.4", "2026-11-26")


def test_it_commits_and_tags_and_prints_the_notes(tmp_path: Path) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, str(ROOT / "tools" / "release.py"), *arguments)

    (tmp_path / "CHANGELOG.md").write_text(HEAD + ADDED + ONE)
    run("git", "init", "--quiet", "--initial-branch", "main")
    run("git", "config", "user.name", "A")
    run("git", "config", "user.email", "a@example.org")
    assert "not committed" in program("1.3.0").stderr
    run("git", "add", "."), run("git", "commit", "--quiet", "-m", "first")
    run("git", "checkout", "--quiet", "-b", "other")
    assert "on main" in program("1.3.0").stderr
    run("git", "checkout", "--quiet", "main")
    made = program("1.3.0")
    assert made.returncode == 0, made.stderr
    assert run("git", "log", "-1", "--format=%s %D").stdout.strip() == "release: 1.3.0 HEAD -> main, tag: v1.3.0"
    assert "- A thing." in run("git", "tag", "-n9", "v1.3.0").stdout
    assert program("v1.3.0", "--notes").stdout == "### Added\n\n- A thing.\n"
    assert program("v9.9.9", "--notes").returncode == 1


def test_our_own_changelog_can_be_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    first = next((name for name in sections(text) if name != "Unreleased"), None)
    if sections(text)["Unreleased"]:
        assert released(text, min(next_versions(first, sections(text)["Unreleased"])), "2026-11-26") != text
