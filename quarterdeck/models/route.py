"""How a completion tells which decisions led to it."""

from __future__ import annotations

from dataclasses import replace

from quarterdeck.models.base import Completion

__all__ = ["routed"]


def routed(completion: Completion, decision: str) -> Completion:
    """The completion with one more decision in front: the outermost wrapper's stands first. Unchanged for an empty one."""
    if not decision:
        return completion
    return replace(completion, route=f"{decision}; {completion.route}" if completion.route else decision)
