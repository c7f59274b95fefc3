"""The one place where values become JSON text and JSON text becomes values.

What is stored leaves out every field that has its default, which halves it; so a default is part of the format and never
changes (`tests/unit/store/golden` holds them all). Fields unknown to this version are ignored on reading, and events of
unknown kinds are kept to the letter, so that old and new versions can run side by side. Text that a database could refuse
(NUL, lone surrogates) is cleaned on the way in: a store that cannot write what a model said would lose the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from quarterdeck.core.errors import InvalidInput, SchemaMismatch
from quarterdeck.core.events import KINDS, Event, Unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["clean_text", "decode", "encode", "encode_full", "from_json", "json_text", "to_json"]

T = TypeVar("T")

_NUL = "\\u0000"  # as JSON writes it


def encode(event: Event) -> tuple[str, str]:
    """The event's kind and its JSON text as it is stored. An `Unknown` that came from `decode` gives the same text again."""
    if isinstance(event, Unknown):
        return event.kind, _unknown(event)
    serializer = _adapter(type(event)).serializer  # the adapter's own methods do the same with a layer more
    try:
        data = serializer.to_json(event, exclude_defaults=True, exclude={"v"}).decode()
    except ValueError:  # pydantic's serialization error; of the causes only lone surrogates can be mended
        body = serializer.to_python(event, mode="json", exclude_defaults=True, exclude={"v"})
        return event.kind, json_text({"v": event.v, **body})
    # The version is always there: once its default rises, old text must still say what it was.
    data = f'{{"v":{event.v},{data[1:]}'
    return event.kind, data if _NUL not in data else json_text(json.loads(data))


def encode_full(event: Event) -> tuple[str, str]:
    """The event's kind and its JSON text with every field but those that are None: for clients, who know no defaults."""
    if isinstance(event, Unknown):
        return event.kind, _unknown(event)
    return event.kind, json_text(_adapter(type(event)).dump_python(event, mode="json", exclude_none=True))


def decode(kind: str, data: str | bytes) -> Event:
    """The event of a kind from its JSON text; an `Unknown` holding that text if this version knows no such kind.

    Raises:
        SchemaMismatch: The kind is known, yet its text does not fit. Ignoring it could hide a started write.
    """
    cls = KINDS.get(kind)
    if cls is None:
        return Unknown(kind=kind, data=data if isinstance(data, str) else data.decode())
    try:
        event: Event = _adapter(cls).validate_json(data)
    except ValueError as error:
        raise SchemaMismatch(f"a stored event of kind {kind!r} cannot be read by this version: {_places(error)}") from error
    return event


def to_json(value: Any) -> dict[str, Any]:
    """A core dataclass as a dict of JSON values, without the fields that have their default."""
    result: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json", exclude_defaults=True)
    return result


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass `to_json` was given.

    Raises:
        SchemaMismatch: The data does not fit the class.
    """
    try:
        value: T = _adapter(cls).validate_python(data)
    except ValueError as error:
        raise SchemaMismatch(f"stored data is no {cls.__name__} of this version: {_places(error)}") from error
    return value


def json_text(value: Any) -> str:
    """Compact JSON text of JSON values, in their order, fit for any database.

    Raises:
        InvalidInput: Something in it is no JSON value, or is NaN or infinite.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"what shall be stored is not JSON: {error}") from error
    if _NUL in text or not _encodable(text):
        text = json.dumps(_cleaned(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text


def clean_text(text: str) -> str:
    """`text` without NUL, and with U+FFFD for each lone surrogate."""
    if not text.isascii() and not _encodable(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case dict():
            return {clean_text(key) if isinstance(key, str) else key: _cleaned(item) for key, item in value.items()}
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case _:
            return value


def _unknown(event: Unknown) -> str:
    return event.data if isinstance(event.data, str) else json_text(event.data)


def _build(cls: Any) -> TypeAdapter[Any]:
    """The class's adapter, built at first use: each costs about 2 ms."""
    from pydantic import ConfigDict, TypeAdapter  # 50 ms: a program that stores nothing never pays for it

    # A dataclass alone accepts no configuration, an optional one hands it down. NaN is written as a string, because the
    # null it would be otherwise cannot be read back as a number.
    return TypeAdapter(cls | None, config=ConfigDict(ser_json_inf_nan="strings"))


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(_build)


def _places(error: ValueError) -> str:
    """Where and why, without the values: they are the user's."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return type(error).__name__
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found[:3])
