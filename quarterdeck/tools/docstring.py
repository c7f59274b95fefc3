"""Docstrings read for models: what a function does, and what each of its parameters means."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Docstring", "read_docstring"]

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Attributes|Source|Warnings?):\s*\Z",
    re.IGNORECASE,
)
_PARAMETERS = {"args", "arguments", "parameters", "params"}
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)\Z")
_REST = re.compile(r":(\w+)(?:\s+([^:]*))?:\s*(.*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """Attributes: parameters: name → description, one line each."""

    text: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def read_docstring(function: object) -> Docstring:
    """Read the docstring of `function`, Google (``Args:``) or reST (``:param x:``); its text ends at the first section."""
    lines = (inspect.getdoc(function) or "").splitlines()
    first = next((i for i, line in enumerate(lines) if _SECTION.match(line) or _REST.match(line)), len(lines))
    parameters: dict[str, list[str]] = {}
    within = False
    current: list[str] | None = None
    indent = 0
    for line in lines[first:]:
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if section := _SECTION.match(line):
            within, current, indent = section[1].lower() in _PARAMETERS, None, 0
        elif rest := _REST.match(line):
            current = parameters.setdefault((rest[2] or "").split()[-1:][0], [rest[3]]) if _is_parameter(rest) else None
            within = False
        elif not stripped:
            continue
        elif within and (depth <= indent or not indent):
            google = _GOOGLE.match(stripped)
            indent = depth
            current = parameters.setdefault(google[1], [google[2]]) if google else None
        elif current is not None and depth > 0:
            current.append(stripped)
    described = {name: " ".join(part for part in parts if part) for name, parts in parameters.items()}
    return Docstring(text="\n".join(lines[:first]).strip(), parameters=described)


def _is_parameter(rest: re.Match[str]) -> bool:
    return rest[1] in ("param", "parameter", "arg", "argument") and bool((rest[2] or "").strip())
