"""One trace of a simulator, as a test holds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quarterdeck.devtools.simulator.app import SimulatorApp
from quarterdeck.devtools.simulator.faults import Fault, parse_fault
from quarterdeck.devtools.simulator.journal import Entry, Expected
from quarterdeck.devtools.simulator.routes import TRACE_HEADER, TRACE_PREFIX
from quarterdeck.devtools.simulator.script_files import load_script, read_script
from quarterdeck.devtools.simulator.scripts import Function, Script, Step

__all__ = ["Traced"]


class Traced:
    """Script, faults and requests of one trace; others do not see them, nor are seen.

    Attributes:
        url: Of the simulator with the trace in its path, for clients that take a base URL and nothing else: Anthropic's.
        headers: The trace as a header, for clients that share a base URL.
    """

    def __init__(self, app: SimulatorApp, url: str, name: str) -> None:
        self._app = app
        self.name = name
        self.url = f"{url}{TRACE_PREFIX}{name}" if name else url
        self.headers = {TRACE_HEADER.decode(): name} if name else {}

    @property
    def base_url(self) -> str:
        """For clients of OpenAI's API."""
        return f"{self.url}/v1"

    def play(self, script: Script | Path | str | Sequence[Step | Function]) -> None:
        """Answer from `script`: a value, a file, YAML, or steps."""
        match script:
            case Script():
                played = script
            case Path():
                played = load_script(script)
            case str():
                played = read_script(script)
            case _:
                played = Script(steps=script)
        world = self._app.world(self.name)
        world.script = self._app.brains.scripted(played)
        for fault in played.faults:
            world.add_fault(fault)

    def fault(self, fault: Fault | str, **fields: Any) -> None:
        """Let something go wrong: a `Fault`, its kind and fields, or its words (``cut after_chunk=5 request=3``)."""
        if isinstance(fault, str):
            fault = Fault(kind=fault, **fields) if fields else parse_fault(fault)  # type: ignore[arg-type]  # checked there
        self._app.world(self.name).add_fault(fault)

    def requests(self, **expected: Any) -> list[Entry]:
        """The requests so far that fit; fields as in `Expected`."""
        return self._app.journal.find(Expected(trace=self.name, **expected))

    def expect(self, times: int | None = None, **expected: Any) -> list[Entry]:
        """Raises AssertionError unless exactly `times` requests fit, or at least one; gives those that do."""
        return self._app.journal.check(Expected(trace=self.name, **expected), times)

    def unmatched(self) -> list[Entry]:
        """Requests the script had no answer for."""
        return self._app.journal.unmatched(self.name)

    def clear(self) -> None:
        """Forget the trace: its requests, script, faults, and what brains remember of it."""
        self._app.journal.clear(self.name)
        self._app.worlds.clear(self.name)
