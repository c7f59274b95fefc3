"""Labels on paths between runs and from servers of others: what a child run, its parent, a memory and a description carry.

Whatever is made from a text carries at least its label; and what a model writes is made from all that the model saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quarterdeck.core.ids import content_hash
from quarterdeck.core.labels import PUBLIC, Integrity, Label, join_all

__all__ = ["described", "description_hash", "handed_down", "handed_up", "remembered"]


def handed_down(task: Label, context: Label) -> Label:
    """What a child run begins with: its task was written by a model that had seen the parent's whole context."""
    return task.join(context)


def handed_up(parent: Label, child: Label) -> Label:
    """What a parent has seen once a child's result has come back, whatever the result says."""
    return parent.join(child)


def remembered(made_from: Iterable[Label]) -> Label:
    """Of a summary or a memory: the join of all it was made from, at its writing and at every reading."""
    return join_all(made_from)


def description_hash(name: str, description: str, schema: Mapping[str, Any]) -> str:
    """What an administrator approves of a tool whose description somebody else writes; any change is another hash."""
    return content_hash({"name": name, "description": description, "schema": schema})


def described(now: str, approved: str | None, server: str) -> Label:
    """The label of such a description: trusted as long as its hash is the one that was approved.

    Args:
        server: Whose it is.
    """
    trusted = approved is not None and now == approved
    integrity = Integrity.TRUSTED if trusted else Integrity.UNTRUSTED
    return Label(integrity=integrity, readers=PUBLIC, sources=(f"server:{server}",))
