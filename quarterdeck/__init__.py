"""Quarterdeck: a runtime and server that turns AI agents into backend services one can command.

Importing it does nothing but make these names findable; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterdeck.core.context import Principal
    from quarterdeck.core.runs import Limits
    from quarterdeck.core.tools import ToolContext
    from quarterdeck.embedded import Agent, RunResult
    from quarterdeck.tools.decorator import tool

__all__ = ["Agent", "Limits", "Principal", "RunResult", "ToolContext", "tool"]

_HOMES = {
    "Agent": "quarterdeck.embedded",
    "Limits": "quarterdeck.core.runs",
    "Principal": "quarterdeck.core.context",
    "RunResult": "quarterdeck.embedded",
    "ToolContext": "quarterdeck.core.tools",
    "tool": "quarterdeck.tools.decorator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quarterdeck' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
