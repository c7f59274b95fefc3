"""Everything that was asked and answered, and assertions on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson
from pydantic import with_config

from quarterdeck.devtools.simulator.exchange import Act
from quarterdeck.devtools.simulator.strict import STRICT

__all__ = ["Entry", "Expected", "Journal"]

_SECRET = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie", b"proxy-authorization"})


@dataclass(slots=True)
class Entry:
    """One request and how it was answered.

    Attributes:
        number: Position in its trace, from 1.
        fault: Kind of what went wrong on purpose, empty if nothing did.
        unmatched: What nothing in the script answered, empty for a request that was.
        ended: ``complete``, ``cut``, ``stalled``, or ``left`` when the client hung up first; empty while it goes on.
        response: What was to be sent: a fault may have kept a part of it.
        started_s, elapsed_s: Of the simulator's clock.
    """

    number: int
    trace: str
    method: str
    path: str
    raw_headers: Mapping[bytes, bytes]
    body: bytes
    started_s: float
    status: int = 0
    response: Sequence[Act] = ()
    fault: str = ""
    unmatched: str = ""
    ended: str = ""
    elapsed_s: float = 0.0

    @property
    def json(self) -> Any:
        """The body, decoded; None if it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def model(self) -> str:
        body = self.json
        return str(body.get("model", "")) if isinstance(body, dict) else ""

    @property
    def headers(self) -> dict[str, str]:
        """As they were sent; credentials are not kept from those who ask the simulator, only from what it prints."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers.items()}

    @property
    def response_text(self) -> str:
        return b"".join(act for act in self.response if isinstance(act, bytes)).decode("utf-8", "replace")

    def shown(self) -> dict[str, Any]:
        """For logs and the admin interface, without credentials."""
        headers = {
            name.decode("latin-1"): "[secret]" if name in _SECRET else value.decode("latin-1")
            for name, value in self.raw_headers.items()
        }
        body = self.json
        return {
            "number": self.number,
            "trace": self.trace,
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "body": body if body is not None else self.body.decode("utf-8", "replace"),
            "status": self.status,
            "response": self.response_text,
            "fault": self.fault,
            "unmatched": self.unmatched,
            "ended": self.ended,
            "started_s": round(self.started_s, 6),
            "elapsed_s": round(self.elapsed_s, 6),
        }


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Which requests are meant; what is not given does not matter.

    Attributes:
        path: A pattern with ``*``, such as ``*/chat/completions``; `model` the same for the model's name.
        contains: Text that must stand somewhere in the request's body, unescaped.
        tool: A function the request must offer.
    """

    path: str = "*"
    model: str = "*"
    contains: str = ""
    tool: str = ""
    status: int | None = None
    fault: str | None = None
    trace: str | None = None

    def fits(self, entry: Entry) -> bool:
        return (
            (self.trace is None or self.trace == entry.trace)
            and (self.status is None or self.status == entry.status)
            and (self.fault is None or self.fault == entry.fault)
            and fnmatchcase(entry.path, self.path)
            and (self.model == "*" or fnmatchcase(entry.model, self.model))
            and (not self.contains or any(self.contains in text for text in _texts(entry.json)))
            and (not self.tool or self.tool in _offered(entry.json))
        )


class Journal:
    """The requests so far, oldest first; of them a bounded number is kept, and of their bodies a bounded size."""

    def __init__(self, *, keep: int, keep_bytes: int = 256 << 20) -> None:
        self._entries: deque[Entry] = deque()
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._size = 0

    def add(self, entry: Entry) -> None:
        entries = self._entries
        entries.append(entry)
        self._size += len(entry.body)
        while len(entries) > self._keep or (self._size > self._keep_bytes and len(entries) > 1):
            self._size -= len(entries.popleft().body)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, expected: Expected) -> list[Entry]:
        return [entry for entry in self if expected.fits(entry)]

    def check(self, expected: Expected, times: int | None = None) -> list[Entry]:
        """The requests that fit: exactly `times` of them, or at least one.

        Raises:
            AssertionError: Another number; the message lists what was asked instead.
        """
        found = self.find(expected)
        if len(found) != times and (times is not None or not found):
            wanted = "at least one" if times is None else f"exactly {times}"
            seen = [
                f"  {e.number}. {e.trace or '-'} {e.method} {e.path} {e.model} → {e.status} {e.fault}".rstrip() for e in self
            ]
            raise AssertionError(
                f"expected {wanted} request(s) like {expected}, found {len(found)}; asked was:\n"
                + ("\n".join(seen[-20:]) or "  nothing")
            )
        return found

    def unmatched(self, trace: str | None = None) -> list[Entry]:
        """Requests no script had an answer for."""
        return [entry for entry in self if entry.unmatched and trace in (None, entry.trace)]

    def clear(self, trace: str | None = None) -> None:
        kept = [entry for entry in self._entries if trace is not None and entry.trace != trace]
        self._entries = deque(kept)
        self._size = sum(len(entry.body) for entry in kept)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a decoded body."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _offered(body: Any) -> list[str]:
    tools = body.get("tools") or [] if isinstance(body, dict) else []
    return [str(tool.get("function", tool).get("name")) for tool in tools if isinstance(tool, dict)]
