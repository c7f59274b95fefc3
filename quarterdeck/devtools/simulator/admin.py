"""``/__sim/...``: the simulator's own interface, for clients that are not in its process."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson
from pydantic import TypeAdapter, ValidationError

from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.devtools.simulator.brains import Brains
from quarterdeck.devtools.simulator.clock import Clock, VirtualClock
from quarterdeck.devtools.simulator.faults import Fault
from quarterdeck.devtools.simulator.journal import Expected, Journal
from quarterdeck.devtools.simulator.script_files import read_script
from quarterdeck.devtools.simulator.world import World, Worlds

__all__ = ["Admin"]

_FAULT = TypeAdapter(Fault)
_EXPECTED = TypeAdapter(Expected)
_LONGEST_S = 1e9
Told = tuple[int, Any]


class HostOptions(Protocol):
    @property
    def clock(self) -> Clock: ...


class Host(Protocol):
    """What the interface acts on: the application."""

    journal: Journal
    worlds: Worlds
    brains: Brains

    @property
    def options(self) -> HostOptions: ...

    def world(self, trace: str) -> World: ...


class Admin:
    """Acts on the trace a request names; on all of them where it names none and that makes sense."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._journal = host.journal
        self._clock = host.options.clock

    def answer(self, method: str, path: str, query: str, body: bytes, trace: str) -> Told:
        """Status and body of the reply."""
        wanted: dict[str, Any] = dict(parse_qsl(query))
        trace = wanted.pop("trace", trace)
        try:
            match method, path.removeprefix("/__sim").strip("/"):
                case "GET", "health":
                    return 200, {"status": "ok", "requests": len(self._journal), "now_s": self._clock.now()}
                case "GET", "requests":
                    found = self._journal.find(_expected({**wanted, **({"trace": trace} if trace else {})}))
                    return 200, [entry.shown() for entry in found]
                case "DELETE", "requests":
                    self._journal.clear(trace or None)
                    self._host.worlds.clear(trace or None)
                    return 200, {"cleared": trace or "everything"}
                case "POST", "expect":
                    return self._expect(_decoded(body), trace)
                case "GET", "faults":
                    return 200, self._host.world(trace).faults
                case "POST", "faults":
                    self._host.world(trace).add_fault(_FAULT.validate_python(_decoded(body)))
                    return 201, self._host.world(trace).faults
                case "DELETE", "faults":
                    self._host.world(trace).clear_faults()
                    return 200, []
                case "PUT", "script":
                    script = read_script(body.decode("utf-8", "replace"), "script")
                    world = self._host.world(trace)
                    world.script = self._host.brains.scripted(script)
                    for fault in script.faults:
                        world.add_fault(fault)
                    return 200, {"steps": len(script.steps)}
                case "DELETE", "script":
                    self._host.world(trace).script = None
                    return 200, {"steps": 0}
                case "POST", "clock":
                    return self._advance(_decoded(body))
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
            ]
            return 400, {"error": problems}
        except (InvalidInput, Misconfigured) as error:
            return 400, {"error": str(error).splitlines()}
        return 404, {"error": [f"there is no {method} {path}"]}

    def _expect(self, told: dict[str, Any], trace: str) -> Told:
        times = told.pop("times", None)
        if times is not None and type(times) is not int:
            raise InvalidInput("times is a whole number")
        if trace:
            told.setdefault("trace", trace)
        try:
            found = self._journal.check(_expected(told), times)
        except AssertionError as error:
            return 409, {"ok": False, "error": str(error).splitlines()}
        return 200, {"ok": True, "requests": len(found)}

    def _advance(self, told: dict[str, Any]) -> Told:
        if not isinstance(self._clock, VirtualClock):
            raise InvalidInput("the clock is real; start the simulator with a virtual one to move it")
        seconds = told.get("advance_s")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST_S:
            raise InvalidInput(f"advance_s is a number of seconds from 0 to {_LONGEST_S:.0f}")
        self._clock.advance(seconds)
        return 200, {"now_s": self._clock.now()}


def _expected(told: dict[str, Any]) -> Expected:
    return _EXPECTED.validate_python(told)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("the body must be a JSON object")
    return value
