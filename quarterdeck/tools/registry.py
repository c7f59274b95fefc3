"""The tools there are, by name, and how they are shown to people and models."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.tools.decorator import as_tool

__all__ = ["CatalogueEntry", "Registry", "closest", "render_prompt"]

RiskLevel = Literal["low", "medium", "high"]
_LEVELS: tuple[RiskLevel, ...] = ("low", "low", "medium", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A tool as the catalogue shows it.

    Attributes:
        access: ``read`` if repeating it changes nothing in the world, else ``write``.
        permission: Right the caller must hold, None if none.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    risk_level: RiskLevel
    effect: Effect
    access: Literal["read", "write"]
    idempotent: bool
    needs_approval: bool
    permission: str | None
    timeout_s: float
    retries: int
    max_output_chars: int


class Registry:
    """A toolbox over given tools; a bare function counts as a write of risk 2.

    Raises:
        Misconfigured: Two tools have one name.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in map(as_tool, tools):
            if each.name in self._tools:
                raise Misconfigured(f"two tools are named {each.name!r}; give one of them another name")
            self._tools[each.name] = each

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools, in order of registration."""
        return tuple(self._tools.values())

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def names(self) -> Sequence[str]:
        return tuple(self._tools)

    def check_undo(self) -> None:
        """Raises Misconfigured where what takes back a write is no tool here, or changes nothing."""
        for each in self._tools.values():
            undo = self._tools.get(each.undo)
            if each.undo and (undo is None or undo.is_read):
                why = f"no tool here; {closest(each.undo, self.names())}" if undo is None else "a read"
                raise Misconfigured(f"tool {each.name}: undo={each.undo!r} is {why}")

    def only(self, names: Iterable[str]) -> Registry:
        """The same tools, fewer of them. Raises Misconfigured for a name there is not."""
        chosen: list[Tool] = []
        for name in names:
            found = self._tools.get(name)
            if found is None:
                raise Misconfigured(f"there is no tool {name!r}; {closest(name, self.names())}")
            chosen.append(found)
        return Registry(chosen)

    def catalogue(self) -> list[CatalogueEntry]:
        """Every tool, in order of registration."""
        return [
            CatalogueEntry(
                name=each.name,
                description=each.description,
                input_schema=each.input_schema,
                risk_level=_LEVELS[each.risk],
                effect=each.effect,
                access="read" if each.is_read else "write",
                idempotent=each.idempotent,
                needs_approval=each.needs_approval,
                permission=each.scope,
                timeout_s=each.timeout_s,
                retries=each.retries,
                max_output_chars=each.max_output_chars,
            )
            for each in self._tools.values()
        ]


def closest(name: str, known: Sequence[str], shown: int = 30) -> str:
    """A half sentence that helps after an unknown name: the closest ones, and those there are."""
    similar = difflib.get_close_matches(name[:64], known, n=3, cutoff=0.5)
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    available = f"available are: {', '.join(known[:shown])}{more}" if known else "there are none"
    return f"closest are: {', '.join(similar)}; {available}" if similar else available


def render_prompt(tools: Iterable[Tool]) -> str:
    """The tools as a piece of prompt, for models that have no tool calling of their own."""
    pieces = [
        f"## {each.name}\n{each.description}\nArguments (JSON Schema): {json.dumps(each.input_schema, ensure_ascii=False)}"
        for each in tools
    ]
    return "\n\n".join(["# Tools", *pieces]) if pieces else ""
