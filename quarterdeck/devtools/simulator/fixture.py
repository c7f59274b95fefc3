"""A pytest plugin: ``pytest_plugins = ["quarterdeck.devtools.simulator.fixture"]``."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import pytest

from quarterdeck.devtools.simulator.server import Simulator
from quarterdeck.devtools.simulator.traced import Traced

__all__ = ["simulator", "simulator_server"]


@pytest.fixture(scope="session")
def simulator_server() -> Iterator[Simulator]:
    """One simulator for the session, in a thread, on a free port."""
    with Simulator() as running:
        yield running


@pytest.fixture
def simulator(simulator_server: Simulator, request: pytest.FixtureRequest) -> Iterator[Traced]:
    """A trace of its own for each test. A request the test's script had no answer for fails the test at its end."""
    traced = simulator_server.trace(blake2b(request.node.nodeid.encode(), digest_size=6).hexdigest())
    yield traced
    lost = [entry.unmatched for entry in traced.unmatched()]
    traced.clear()
    if lost:
        pytest.fail("the simulator's script had no answer:\n" + "\n".join(lost))
