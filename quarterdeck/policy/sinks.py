"""Who can read what a tool sends: a fixed table of functions, named in declarations and never evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from quarterdeck.core.context import Principal
from quarterdeck.core.tools import Effect
from quarterdeck.policy.grounding import leaves

__all__ = ["SINKS", "Audience", "audience", "named_sink", "sink_parts"]

Audience = Mapping[str, str] | None
"""Name as in ``Readers`` → how the arguments name it ("" where they do not); None is everybody."""

_SINK = re.compile(r"([a-z]+)(?:\(([\w, ]*)\))?\Z")
_BY_EFFECT: Mapping[Effect, str] = {Effect.READ: "nobody", Effect.WRITE_LOCAL: "user"}


def _recipients(kind: str) -> Callable[[Principal, Sequence[str]], Audience]:
    return lambda principal, values: {f"{kind}:{value.strip().lower()}": value for value in values}


SINKS: Mapping[str, Callable[[Principal, Sequence[str]], Audience]] = {
    "nobody": lambda principal, values: {},
    "user": lambda principal, values: {f"user:{principal.user}": ""},
    "tenant": lambda principal, values: {f"tenant:{principal.tenant}": ""},
    "everybody": lambda principal, values: None,
    "emails": _recipients("user"),
    "users": _recipients("user"),
    "groups": _recipients("group"),
}
_TAKES_ARGUMENTS = frozenset({"emails", "users", "groups"})


@lru_cache(maxsize=256)
def sink_parts(sink: str) -> tuple[str, tuple[str, ...]]:
    """The function and the arguments it reads, of ``emails(to,cc)``. Raises ValueError if there is no such sink."""
    match = _SINK.match(sink)
    name = match[1] if match else ""
    named = tuple(part.strip() for part in (match[2] or "").split(",") if part.strip()) if match else ()
    if name not in SINKS or bool(named) != (name in _TAKES_ARGUMENTS):
        known = ", ".join(f"{each}(arguments)" if each in _TAKES_ARGUMENTS else each for each in SINKS)
        raise ValueError(f"sink {sink!r} is none of {known}")
    return name, named


def audience(sink: str, effect: Effect, args: Mapping[str, Any], principal: Principal) -> Audience:
    """Who can read what a call with `args` sends; without a declared sink what the effect implies, at worst everybody."""
    name, named = sink_parts(sink or _BY_EFFECT.get(effect, "everybody"))
    values = [str(leaf) for each in named for leaf in leaves(args.get(each)) if leaf is not None and str(leaf).strip()]
    return SINKS[name](principal, values)


def named_sink(sink: str, effect: Effect) -> str:
    """Who that is, in words for a person."""
    name, named = sink_parts(sink or _BY_EFFECT.get(effect, "everybody"))
    return {"user": "the user alone", "tenant": "the tenant"}.get(name, f"those in {', '.join(named)}" if named else name)
