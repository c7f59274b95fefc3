"""What a tool returned, as text for a model: bounded while it is read, clean, and the same for equal values."""

from __future__ import annotations

import base64
import json
import math
import numbers
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.ids import canonical_json
from quarterdeck.core.text import without_hidden

__all__ = ["Unserialisable", "clean", "collect", "collect_async", "encode"]

_MAX_DEPTH = 64
_NODE_CHARS = 2  # the least any value adds to the text, so that an endless iterator of nothing ends too
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unserialisable(QuarterdeckError):
    """A tool returned something that has no sensible text: a cycle, an open connection, a function."""

    code = "unserialisable"


def encode(value: Any, limit: int) -> tuple[str, bool]:
    """The text of `value` and whether it was cut to `limit` characters: text as it is, all else as JSON.

    No more of `value` is read than fits, so an endless generator ends at the limit. Sets are sorted; NaN and infinity become
    text; bytes become text, or base64 where they are none.

    Raises:
        Unserialisable: There is no sensible text.
    """
    if type(value) is str:
        return _cut(clean(value[: limit + 1]), limit)
    walk = _Walk(limit)
    plain = walk.plain(value)
    try:
        text = plain if isinstance(plain, str) and isinstance(value, str) else json.dumps(plain, ensure_ascii=False)
    except ValueError as error:
        raise Unserialisable(str(error)) from error
    return _cut(text, limit, force=walk.cut)


def clean(text: str) -> str:
    """`text` without NUL and hidden characters, and with lone surrogates replaced: what a model and a person read alike."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    if _SURROGATE.search(text) is not None:
        # A pair in two escapes is one character that was taken apart; only what has no partner is lost.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return without_hidden(text)


def collect(items: Iterator[Any], limit: int) -> list[Any]:
    """What an iterator yields, as plain values, until they exceed `limit` characters."""
    walk = _Walk(limit)
    found: list[Any] = []
    for item in items:
        found.append(walk.plain(item))
        if walk.left < 0:
            break
    return found


async def collect_async(items: AsyncIterator[Any], limit: int) -> list[Any]:
    """Like `collect`, for an asynchronous iterator."""
    walk = _Walk(limit)
    found: list[Any] = []
    async for item in items:
        found.append(walk.plain(item))
        if walk.left < 0:
            break
    return found


def _cut(text: str, limit: int, *, force: bool = False) -> tuple[str, bool]:
    if len(text) <= limit and not force:
        return text, False
    marker = f"\n[cut: longer than {limit} characters]"
    return text[: max(limit - len(marker), 0)] + marker, True


class _Walk:
    """Turns values into plain JSON values while there is room.

    Attributes:
        left: Characters that still fit; below zero the rest is left unread.
        cut: Something was left unread.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.cut = False
        self._open: set[int] = set()

    def plain(self, value: Any) -> Any:
        self.left -= _NODE_CHARS
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value if type(value) is str else str.__str__(value))
        if isinstance(value, int):
            self.left -= value.bit_length() // 4
            return int(value)
        if isinstance(value, float):
            self.left -= 8
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, Enum):
            return self.plain(value.value)
        return self._compound(value)

    def _text(self, text: str) -> str:
        if len(text) > self.left:
            self.cut = True
            text = text[: max(self.left + 1, 0)]
        self.left -= len(text)
        return clean(text)

    def _compound(self, value: Any) -> Any:
        match value:
            case datetime() | date() | time():
                return self._text(value.isoformat())
            case timedelta() | Decimal() | UUID() | PurePath() | IPv4Address() | IPv6Address():
                return self._text(str(value))
            case bytes() | bytearray() | memoryview():
                return self._text(_text_of(bytes(value[: max(self.left + 4, 0)])))
            case numbers.Integral():
                return self.plain(int(value))
            case numbers.Real():
                return self.plain(float(value))
        return self._within(value)

    def _within(self, value: Any) -> Any:
        """A container: what it holds, unless it holds itself."""
        if len(self._open) >= _MAX_DEPTH:
            raise Unserialisable(f"the result is nested deeper than {_MAX_DEPTH} levels")
        if id(value) in self._open:
            raise Unserialisable("the result contains itself")
        self._open.add(id(value))
        try:
            return self._container(value)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any) -> Any:
        match value:
            case BaseModel():
                return self._mapping(value.model_dump(mode="python", warnings=False).items())
            case Mapping():
                return self._mapping(value.items())
            case set() | frozenset():
                return sorted(self._items(value), key=canonical_json)
            case _ if is_dataclass(value) and not isinstance(value, type):
                return self._mapping((each.name, getattr(value, each.name)) for each in fields(value))
            case Iterable():
                return self._items(value)
        raise Unserialisable(f"a value of type {type(value).__name__} has no JSON form")

    def _items(self, items: Iterable[Any]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if self.left < 0:
                self.cut = True
                break
            found.append(self.plain(item))
        return found

    def _mapping(self, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in items:
            if self.left < 0:
                self.cut = True
                break
            name = self._key(key)  # before its value, which may use up the room
            found[name] = self.plain(item)
        return found

    def _key(self, key: Any) -> str:
        plain = self.plain(key)
        if isinstance(plain, list | dict):
            raise Unserialisable(f"a key of type {type(key).__name__} has no JSON form")
        return plain if isinstance(plain, str) else json.dumps(plain)


def _text_of(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii")
