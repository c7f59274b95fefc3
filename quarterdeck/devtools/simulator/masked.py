"""Bodies of replies without credentials: whole ones, and streams in which a credential may come piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.masking import Mask
from quarterdeck.models.wire import decode, encode

__all__ = ["masked_body", "masked_stream"]

_BETWEEN_EVENTS = re.compile(r"(\r?\n\r?\n)")
# What tells apart the texts that are told side by side in one stream: which part of the reply an event continues.
_PARTS = ("type", "index", "output_index", "content_index", "summary_index", "item_id")


@dataclass(slots=True)
class _Event:
    """An event whose data is a JSON object; what of it is changed is written anew, and nothing else."""

    block: str
    value: dict[str, Any]
    changed: bool = False

    def __str__(self) -> str:
        if not self.changed:
            return self.block
        kept = [line for line in self.block.splitlines() if not line.startswith("data:")]
        return "\n".join((*kept, f"data: {encode(self.value).decode()}"))


def masked_body(body: str, mask: Mask) -> str:
    """A body in one piece without credentials; JSON stays JSON, and comes back as it is if there is none in it."""
    try:
        value = decode(body)
    except ValueError:
        return mask.text(body)
    clean = mask.value(value)
    return body if clean == value else encode(clean).decode()


def masked_stream(body: str, mask: Mask) -> str:
    """A stream of events without credentials, also those whose pieces come in different events."""
    blocks: list[_Event | str] = []
    said: dict[tuple[Any, ...], list[tuple[_Event, Any, Any]]] = {}  # by what it continues: where its pieces stand
    for block in _BETWEEN_EVENTS.split(body):
        event = _event(block)
        blocks.append(mask.text(block) if event is None else event)
        if event is not None:
            part = tuple(str(event.value.get(name)) for name in _PARTS)
            for place, holder, key in _texts(event.value, part):
                said.setdefault(place, []).append((event, holder, key))
    for pieces in said.values():
        clean = mask.pieces([holder[key] for _, holder, key in pieces])
        for (event, holder, key), text in zip(pieces, clean, strict=True):
            if text != holder[key]:
                holder[key] = text
                event.changed = True
    return "".join(map(str, blocks))


def _event(block: str) -> _Event | None:
    data = [line.removeprefix("data:") for line in block.splitlines() if line.startswith("data:")]
    try:
        value = decode("\n".join(data))
    except ValueError:
        return None
    return _Event(block, value) if isinstance(value, dict) else None


def _texts(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Every text in a JSON value: what it is called, and where it stands. Items of lists go by their own index, if any."""
    if isinstance(value, dict):
        items: Iterator[tuple[Any, Any, Any]] = ((key, key, item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((n, item.get("index", n) if isinstance(item, dict) else n, item) for n, item in enumerate(value))
    else:
        return
    for key, name, item in items:
        if isinstance(item, str):
            yield (*place, name), value, key
        else:
            yield from _texts(item, (*place, str(name)))
