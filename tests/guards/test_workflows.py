"""GitHub's workflows: pinned actions, rights named by each job, nothing from outside in a command."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guards.source import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RIGHTS = {"release.yml": {"contents": "write"}}
"""Everywhere else a job may only read the source."""
_PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def faults(name: str, text: str) -> list[str]:
    found = [f"not pinned: {line}" for line in re.findall(r"uses: (.*)", text) if not _PINNED.fullmatch(line)]
    workflow: dict[Any, Any] = yaml.safe_load(text)
    if workflow.get("permissions") != {}:
        found.append("rights for all jobs")
    if "pull_request_target" in text or "workflow_run" in text:
        found.append("runs strangers' code with rights")
    for job in workflow["jobs"].values():
        if job.get("permissions") != RIGHTS.get(name, {"contents": "read"}):
            found.append(f"rights: {job.get('permissions')}")
        if "timeout-minutes" not in job:
            found.append("no end")
        for step in job["steps"]:
            if "${{" in step.get("run", ""):
                found.append(f"an expression in a command: {step['run'].strip()}")
            if "checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
                found.append("a token left on disk")
    return found


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
