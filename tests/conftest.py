"""What every test may use, and the rules of a run: only loopback, no silent skip in CI, a closing line."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import hypothesis
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from sandbox.azurite import Azurite
from tests.browser import chromium as chromium_browser
from tests.running import live as live
from tests.running import sandbox as sandbox

# With CI=true a skipped test fails, unless its node id begins with one of these; each with its reason.
ALLOWED_SKIPS: dict[str, str] = {
    "tests/test_worker_runtime.py": "azure-functions-runtime exists for Python 3.13 and later only",
    "tests/test_package.py::test_the_worker_indexes": "the same",
}

# The same examples in each run, and no limit of time on one. Others each time, and many more invented lives of visits
# than `make test` has time for: `make test ARGS=--hypothesis-profile=deep`.
hypothesis.settings.register_profile(
    "deep", derandomize=False, deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ci")

STARTED = pytest.StashKey[float]()
STORAGE_OPERATIONS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def count_storage(pytestconfig: pytest.Config) -> Callable[[int], None]:
    """Adds storage operations to the closing line, for tests that run a storage of their own."""

    def add(operations: int) -> None:
        pytestconfig.stash[STORAGE_OPERATIONS] += operations

    return add


@pytest.fixture(scope="session")
def azurite(
    tmp_path_factory: pytest.TempPathFactory, count_storage: Callable[[int], None]
) -> Iterator[Azurite]:
    """One storage for the whole run; tests keep apart by tenant."""
    with Azurite(tmp_path_factory.mktemp("storage") / "azurite") as storage:
        yield storage
        count_storage(storage.operations)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser for the whole run; a test opens a context of its own in it."""
    executable, environment = chromium_browser.find()
    expect.set_options(timeout=chromium_browser.PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=chromium_browser.ARGUMENTS, env=environment
        )
        yield browser
        browser.close()


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Fails a connection to anything but this machine: no test depends on, or reaches, the internet."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test may reach only loopback, not {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STARTED] = time.monotonic()
    config.stash[STORAGE_OPERATIONS] = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _no_silent_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _no_silent_skip((yield))


def _no_silent_skip(report: Any) -> Any:
    expected = hasattr(report, "wasxfail") or report.nodeid.startswith(tuple(ALLOWED_SKIPS))
    if report.skipped and not expected and os.environ.get("CI") == "true":
        report.outcome, report.longrepr = "failed", f"skipped in CI, not in ALLOWED_SKIPS: {report.longrepr}"
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest's own closing line."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    kinds = ("passed", "failed", "error", "skipped", "xfailed")
    count = {kind: len(reporter.stats.get(kind, [])) for kind in kinds}
    wall = time.monotonic() - config.stash[STARTED]
    reporter.write_line(
        f"tests={sum(count.values())} skipped={count['skipped']} "
        f"storage_operations={config.stash[STORAGE_OPERATIONS]} wall_s={wall:.0f}"
    )
