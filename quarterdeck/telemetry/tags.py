"""Traffic tags: which of the headers a request brings along are taken, and what of them stands in log lines.

Only what an administrator named is taken, in a few harmless characters, and all of it together is at most 1 KiB. What is
anything else is dropped without a word: a tag is never a reason to refuse a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quarterdeck.core.personal import personal
from quarterdeck.core.propagation import RESERVED, named

__all__ = ["MAX_TAG_BYTES", "TagRule", "TagRules", "logged"]

MAX_TAG_BYTES = 1024
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}\Z")
_MAX_STATE = 512
_MAX_MEMBERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """A tag that is taken.

    Attributes:
        header: That it comes in, in small letters; it is also taken from ``baggage`` under its name.
        values: The only ones it may have; empty for any.
    """

    name: str
    header: str
    values: frozenset[str] = frozenset()

    def admits(self, value: str) -> bool:
        """True for a value that may travel: of the harmless characters, and nothing that identifies a person."""
        if self.values:
            return value in self.values
        return _VALUE.match(value) is not None and next(personal(value), None) is None


class TagRules:
    """All tags that are taken."""

    def __init__(self, rules: Iterable[TagRule] = ()) -> None:
        self._rules = tuple(rules)

    def read(self, headers: Mapping[str, str], *, traced: bool) -> dict[str, str]:
        """The tags of a request.

        Args:
            headers: By name in small letters.
            traced: A usable trace id came along; without one its state means nothing.
        """
        baggage = _baggage(headers.get("baggage", ""))
        found: dict[str, str] = {}
        outside = headers.get(RESERVED["trace_id_ext"], "")
        if _VALUE.match(outside):
            found["trace_id_ext"] = outside
        for rule in self._rules:
            value = headers.get(rule.header) or baggage.get(rule.name, "")
            if rule.admits(value) and _size(found) + len(rule.name) + len(value) <= MAX_TAG_BYTES:
                found[rule.name] = value
        state = _state(headers.get("tracestate", "")) if traced else ""
        if state and _size(found) + len("tracestate") + len(state) <= MAX_TAG_BYTES:
            found["tracestate"] = state
        return found


def logged(tags: Mapping[str, str], trace_id: str | None) -> dict[str, str | None]:
    """What log lines say of tags, and the id under which a client follows all of its session: its own, or the trace's."""
    ids: dict[str, str | None] = {"session_trace_id": tags.get("trace_id_ext", trace_id)}
    return ids | {f"tag_{name}": value for name, value in named(tags).items()}


def _baggage(header: str) -> dict[str, str]:
    """Members of a W3C baggage header, without their properties; the first of a name counts."""
    if len(header) > 8192:
        return {}
    found: dict[str, str] = {}
    for member in header.split(","):
        name, separator, value = member.partition(";")[0].partition("=")
        if separator:
            found.setdefault(name.strip(), value.strip())
    return found


def _state(header: str) -> str:
    members = [member.strip() for member in header.split(",")] if len(header) <= _MAX_STATE else []
    whole = 0 < len(members) <= _MAX_MEMBERS and all(_MEMBER.match(member) for member in members)
    return ",".join(members) if whole else ""


def _size(tags: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in tags.items())
