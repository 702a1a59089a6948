"""GitHub's workflows: pinned actions, rights named by each job, nothing from outside in a command."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guards.source import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAY_WRITE = {("release.yml", "release")}
"""Every other job may only read the source; this one runs nothing that was checked out or installed."""
_PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def faults(name: str, text: str) -> list[str]:
    found = [f"not pinned: {line}" for line in re.findall(r"uses: (.*)", text) if not _PINNED.fullmatch(line)]
    workflow: dict[Any, Any] = yaml.safe_load(text)
    if workflow.get("permissions") != {}:
        found.append("rights for all jobs")
    if "pull_request_target" in text or "workflow_run" in text:
        found.append("runs strangers' code with rights")
    for key, job in workflow["jobs"].items():
        writes = (name, key) in MAY_WRITE
        if job.get("permissions") != {"contents": "write" if writes else "read"}:
            found.append(f"rights: {job.get('permissions')}")
        if "timeout-minutes" not in job:
            found.append("no end")
        for step in job["steps"]:
            found += _faults_of(step, beside_rights=writes)
    return found


def _faults_of(step: dict[str, Any], *, beside_rights: bool) -> Iterator[str]:
    run, uses = step.get("run", ""), step.get("uses", "")
    if "${{" in run:
        yield f"an expression in a command: {run.strip()}"
    if "|" in run.replace("||", ""):
        yield "a failure in a pipe is not seen"
    if beside_rights and not (run.startswith("gh ") or uses.startswith("actions/download-artifact@")):
        yield "code of others beside rights"
    if "checkout" in uses and step.get("with", {}).get("persist-credentials") is not False:
        yield "a token left on disk"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_workflows_hold_the_rules(path: Path) -> None:
    assert faults(path.name, path.read_text("utf-8")) == []


def test_planted_faults_are_found() -> None:
    planted = """
on: pull_request_target
permissions: {contents: write}
jobs:
  a:
    steps:
      - uses: actions/checkout@v5
      - run: echo ${{ github.event.issue.title }}
"""
    assert len(faults("planted.yml", planted)) == 7
    beside = """
permissions: {}
jobs: {release: {permissions: {contents: write}, timeout-minutes: 1, steps: [run: make x | y]}}
"""
    assert faults("release.yml", beside) == ["a failure in a pipe is not seen", "code of others beside rights"]
