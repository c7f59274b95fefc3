"""What the simulator remembers, apart for each trace: so tests that run at the same time do not meet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from quarterdeck.devtools.simulator.base import Ask, Brain
from quarterdeck.devtools.simulator.faults import Fault
from quarterdeck.devtools.simulator.limits import Bucket
from quarterdeck.devtools.simulator.seeds import Dice

__all__ = ["World", "Worlds"]

_DIGESTS_KEPT = 50_000
_WORLDS_KEPT = 10_000
_PREFIXES_KEPT = 4_096
_CACHED_FROM, _CACHED_BY = 1_024, 128  # OpenAI reads prompts from its cache from so many tokens on, in such steps


class World:
    """One trace.

    Attributes:
        requests: How many came so far.
        memory: What brains and the Responses API remember.
        script: Answers instead of what the model's name chooses, None without one.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.memory: dict[str, Any] = {}
        self.script: Brain | None = None
        self.bucket: Bucket | None = None
        self._faults: list[tuple[Fault, list[int]]] = []
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._prefixes: OrderedDict[int, int] = OrderedDict()

    def add_fault(self, fault: Fault) -> None:
        self._faults.append((fault, []))

    @property
    def faults(self) -> list[Fault]:
        return [fault for fault, _ in self._faults]

    @property
    def has_faults(self) -> bool:
        return bool(self._faults)

    def clear_faults(self) -> None:
        self._faults.clear()

    def fault_for(self, *, number: int, path: str, model: str, dice: Dice) -> Fault | None:
        """The first fault that happens to a request; it is used up by that."""
        for fault, hit in self._faults:
            if (fault.times is None or len(hit) < fault.times) and fault.hits(
                number=number, path=path, model=model, dice=dice
            ):
                if fault.times is not None:
                    hit.append(number)
                return fault
        return None

    def occurrence(self, path: str, body: bytes) -> int:
        """How often exactly this request came before: what makes the ids of equal requests different."""
        digest = hash((path, body))
        times = self._seen.get(digest, 0)
        self._seen[digest] = times + 1
        if len(self._seen) > _DIGESTS_KEPT:
            self._seen.popitem(last=False)
        return times

    def cached_tokens(self, ask: Ask, prompt: int) -> int:
        """Tokens at the start of the prompt that were sent before, as a provider's cache would find them."""
        if prompt < _CACHED_FROM:
            return 0
        known, state, length = 0, hash((ask.model, ask.tool_tokens)), sum(len(turn.text) for turn in ask.turns) or 1
        read = 0
        for turn in ask.turns:
            state = hash((state, turn))
            read += len(turn.text)
            if state in self._prefixes:
                known = read
            self._prefixes[state] = read
            if len(self._prefixes) > _PREFIXES_KEPT:
                self._prefixes.popitem(last=False)
        tokens = prompt * known // length
        return tokens // _CACHED_BY * _CACHED_BY if tokens >= _CACHED_FROM else 0


class Worlds:
    """A world per trace; the longest unused ones are forgotten."""

    def __init__(self) -> None:
        self._worlds: OrderedDict[str, World] = OrderedDict()

    def of(self, trace: str) -> tuple[World, bool]:
        """The world of a trace, and whether it was made just now."""
        world = self._worlds.get(trace)
        if world is not None:
            self._worlds.move_to_end(trace)
            return world, False
        world = self._worlds[trace] = World()
        if len(self._worlds) > _WORLDS_KEPT:
            self._worlds.popitem(last=False)
        return world, True

    def clear(self, trace: str | None = None) -> None:
        if trace is None:
            self._worlds.clear()
        else:
            self._worlds.pop(trace, None)
