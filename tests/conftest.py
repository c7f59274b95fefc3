"""What every test shares: the event loop, hypothesis profiles, a free port, and no silent skips in CI."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres_server", "tests.redis_server", "tests.rows", "tests.s3_server"]

IN_CI = bool(os.environ.get("CI"))

# Deadlines measure the machine, not the code, and a failure in CI has to be the same failure on a laptop.
settings.register_profile("laptop", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=50, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if IN_CI else "laptop")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    """A port of the loopback interface nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The long ones first, so that no worker is left alone with them at the end.
    items.sort(key=lambda item: item.get_closest_marker("chaos") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A laptop may lack an engine; CI installs them all, so there a skip would hide a hole. Weights are no engine of ours.
    carried = item.get_closest_marker("weights") is None
    if IN_CI and carried and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing may be: {report.longrepr}"
    return report


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a figure that a test measured, in words, for whoever reads the report; `python -m bench lines` does."""

    def note(told: str) -> None:
        request.node.user_properties.append(("figure", told))

    return note
