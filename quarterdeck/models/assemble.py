"""Tool calls from the pieces in which providers send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.messages import ToolCall
from quarterdeck.models.tokens import count_tokens
from quarterdeck.models.wire import decode, encode

__all__ = ["MAX_ARGUMENTS", "Assembler", "tool_call"]

MAX_ARGUMENTS = 256 * 1024
_MAX_DEPTH = 64
_MAX_NAME = 128  # longer than any tool's, so what is cut names none


@dataclass(slots=True)
class _Nesting:
    """How deep in braces and brackets a JSON text is that comes in pieces.

    Attributes:
        is_closed: What was opened is closed again.
    """

    depth: int = 0
    is_closed: bool = False
    in_text: bool = False
    escaped: bool = False

    def add(self, piece: str) -> None:
        for char in piece:
            if self.escaped:
                self.escaped = False
            elif self.in_text:
                self.escaped = char == "\\"
                self.in_text = char != '"'
            elif char == '"':
                self.in_text = True
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1
                self.is_closed |= self.depth <= 0


@dataclass(slots=True)
class _Slot:
    """A call while it is being sent.

    Attributes:
        scanned: Pieces whose nesting was looked at.
        whole: Whether its arguments were usable once they were closed; None while they are open.
    """

    place: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    nesting: _Nesting = field(default_factory=_Nesting)
    scanned: int = 0
    whole: bool | None = None

    def name_with(self, piece: str) -> None:
        # Some servers repeat the name with every piece, some send it growing, some in parts.
        if piece.startswith(self.name):
            self.name = piece
        elif piece != self.name:
            self.name += piece
        self.name = self.name[:_MAX_NAME]

    def append(self, piece: str) -> None:
        self.size += len(piece)
        if self.size <= MAX_ARGUMENTS:
            self.pieces.append(piece)
        else:
            self.pieces.clear()  # refused already: what else comes of it is counted and dropped

    @property
    def complete(self) -> bool:
        """True when its arguments are a JSON object already, so that another name begins another call.

        Asked with every fragment by some servers: each piece is looked at once, and all of them are decoded once at most.
        """
        if self.whole is None:
            for piece in self.pieces[self.scanned :]:
                self.nesting.add(piece)
            self.scanned = len(self.pieces)
            if self.nesting.is_closed:
                self.whole = tool_call(self.id, self.name, "".join(self.pieces)).malformed is None
        return bool(self.whole)


class Assembler:
    """Collects fragments ``{index?, id?, function: {name?, arguments?}}`` of the calls of one reply.

    A fragment belongs to the call of its index; without an index to that of its id; without both to the latest call, unless
    that is complete and a name is given. Whatever it belongs to by index or id, another name with arguments begins another
    call where those of the call are complete: some servers give all calls one index, or one id. Pieces of one call must come
    in their order; calls may interleave.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._by_index: dict[int, _Slot] = {}
        self._by_id: dict[str, _Slot] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, fragment: Mapping[str, Any]) -> str | None:
        """Take a fragment; returns the name of the call if this fragment is the first to name it."""
        function = fragment.get("function")
        if not isinstance(function, Mapping):
            function = {}
        call_id, name, arguments = _text(fragment.get("id")), _text(function.get("name")), function.get("arguments")
        slot = self._slot(fragment.get("index"), call_id, name, begins=bool(name and arguments))
        slot.id = slot.id or call_id
        self._by_id[slot.id] = slot
        unnamed = not slot.name
        if name:
            slot.name_with(name)
        if arguments:
            slot.append(arguments if isinstance(arguments, str) else encode(arguments).decode())
        return slot.name if unnamed and name else None

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls in the provider's order. Those whose arguments are unusable are marked malformed.

        Raises:
            ModelInvalid: A call was begun and never named.
        """
        calls = []
        for slot in sorted(self._slots, key=lambda slot: slot.place):
            if not slot.name:
                raise ModelInvalid("the model began a tool call and never named it")
            if slot.size > MAX_ARGUMENTS:
                reason = f"the arguments are longer than {MAX_ARGUMENTS} characters"
                calls.append(ToolCall(id=slot.id, name=slot.name, malformed=reason))
            else:
                calls.append(tool_call(slot.id, slot.name, "".join(slot.pieces)))
        return tuple(calls)

    def tokens(self) -> int:
        """About how many tokens the calls took so far."""
        return sum(count_tokens(slot.name) + count_tokens("".join(slot.pieces)) for slot in self._slots)

    def _slot(self, index: Any, id: str, name: str, *, begins: bool) -> _Slot:
        if isinstance(index, int):
            slot = self._by_index.get(index)
            # Some servers give every call the index 0; then a new id with a name begins a new call.
            if slot is None or (name and id and slot.id and id != slot.id) or (begins and slot.complete):
                slot = self._by_index[index] = self._begin(index)
            return slot
        latest = self._slots[-1] if self._slots else None
        if id:
            slot = self._by_id.get(id)
            return self._begin() if slot is None or (begins and slot.complete) else slot
        if latest is None or (name and latest.name and latest.complete):
            return self._begin()
        return latest

    def _begin(self, index: int | None = None) -> _Slot:
        slot = _Slot(place=len(self._slots) if index is None else index)
        self._slots.append(slot)
        return slot


def tool_call(id: str, name: str, arguments: str) -> ToolCall:
    """The call with its arguments decoded; malformed, with the reason, unless they are one JSON object of bounded depth."""
    if not arguments.strip():
        return ToolCall(id=id, name=name)  # how several providers send "no arguments"
    try:
        decoded = decode(arguments)
    except ValueError as error:
        return ToolCall(id=id, name=name, malformed=f"the arguments are not JSON: {error}")
    if not isinstance(decoded, dict):
        return ToolCall(id=id, name=name, malformed=f"the arguments are a JSON {_KINDS[type(decoded)]}, not an object")
    if arguments.count("{") + arguments.count("[") > _MAX_DEPTH and _depth(decoded) > _MAX_DEPTH:
        return ToolCall(id=id, name=name, malformed=f"the arguments are nested more than {_MAX_DEPTH} levels deep")
    return ToolCall(id=id, name=name, args=decoded)


_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _depth(value: Any) -> int:
    """Levels of arrays and objects in `value`, counted only until they are too many."""
    level, depth = [value], 0
    while level and depth <= _MAX_DEPTH:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        containers = any(isinstance(item, dict | list) for item in level)
        depth += containers
        level = inner
    return depth


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
