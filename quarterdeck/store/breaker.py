"""Circuits that open when what they lead to keeps failing: the rule, and its state in this process.

A circuit is closed while all is well. It is opened by a share of failures among enough calls in a window; then nobody is let
through. After a while it is half open: one caller is let through as a probe, and how the probe ends decides.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from quarterdeck.core.ids import new_id

__all__ = ["Admission", "BreakerRule", "BreakerState", "Circuit", "MemoryBreaker", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """When a circuit opens and when it is tried again.

    Attributes:
        share: Of failures among the calls in the window at which it opens, above 0 to 1.
        minimum: Calls in the window before that share means anything.
        window_s: Seconds looked back.
        open_s: Seconds nobody is let through; also between two probes.
        probe_s: Seconds after which a probe that nobody reported on is given up, as its process may have died.
    """

    share: float = 0.5
    minimum: int = 20
    window_s: float = 10.0
    open_s: float = 5.0
    probe_s: float = 120.0


class Circuit(StrEnum):
    """How a caller found the circuit."""

    CLOSED = "closed"
    PROBE = "probe"
    OPEN = "open"


class Outcome(StrEnum):
    """How an admitted call ended. `VOID` says nothing about the other side: the caller left, or asked nonsense."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The answer to a caller; to be handed back with the outcome unless it is `OPEN`.

    Attributes:
        token: Tells this admission from those of other times and callers.
        retry_after_s: Seconds until it is worth asking again, when `OPEN`.
    """

    circuit: Circuit
    token: str = ""
    retry_after_s: float = 0.0


class BreakerState(Protocol):
    """Circuits by name. Never fails: a state that cannot be reached lets calls through by what it knows itself."""

    async def admit(self, name: str) -> Admission: ...

    async def report(self, name: str, admission: Admission, outcome: Outcome) -> None:
        """Tell how an admitted call ended. What was admitted before the circuit last changed counts no more."""
        ...


@dataclass(slots=True)
class _Line:
    ends: deque[tuple[float, bool]] = field(default_factory=deque)  # (when, failed), oldest first
    failures: int = 0
    opened_until: float | None = None
    token: str = field(default_factory=new_id)  # of the present closed time, or of the probe
    probe_until: float = 0.0


class MemoryBreaker:
    """`BreakerState` of one process."""

    def __init__(self, rule: BreakerRule | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rule = rule or BreakerRule()
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    async def admit(self, name: str) -> Admission:
        line = self._lines.setdefault(name, _Line())
        now = self._clock()
        if line.opened_until is None:
            return Admission(circuit=Circuit.CLOSED, token=line.token)
        wait_s = max(line.opened_until, line.probe_until) - now
        if wait_s > 0:
            return Admission(circuit=Circuit.OPEN, retry_after_s=min(wait_s, self._rule.open_s))
        # Without an await since the look at it, so that there is one probe however many ask.
        line.token = new_id()
        line.probe_until = now + self._rule.probe_s
        return Admission(circuit=Circuit.PROBE, token=line.token)

    async def report(self, name: str, admission: Admission, outcome: Outcome) -> None:
        line = self._lines.get(name)
        if line is None or admission.token != line.token:
            return
        now = self._clock()
        if admission.circuit is Circuit.PROBE:
            self._end_probe(name, line, outcome, now)
        elif outcome is not Outcome.VOID:
            self._count(line, outcome is Outcome.FAILED, now)

    def _end_probe(self, name: str, line: _Line, outcome: Outcome, now: float) -> None:
        match outcome:
            case Outcome.SUCCEEDED:
                self._lines[name] = _Line()
            case Outcome.FAILED:
                self._open(line, now)
            case Outcome.VOID:
                line.token, line.probe_until = new_id(), 0.0

    def _count(self, line: _Line, failed: bool, now: float) -> None:
        line.ends.append((now, failed))
        line.failures += failed
        while line.ends[0][0] <= now - self._rule.window_s:
            line.failures -= line.ends.popleft()[1]
        if len(line.ends) >= self._rule.minimum and line.failures >= self._rule.share * len(line.ends):
            self._open(line, now)

    def _open(self, line: _Line, now: float) -> None:
        line.ends.clear()
        line.failures = 0
        line.opened_until = now + self._rule.open_s
        line.token, line.probe_until = new_id(), 0.0
