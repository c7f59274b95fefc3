"""The nodes of a topology, and the runs made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterdeck.core.labels import Label

__all__ = ["ChildFinished", "ChildStarted", "NodeSkipped", "NodeStarted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted:
    """A node of a topology began."""

    kind: ClassVar[str] = "node_started"
    node: str
    v: int = 1

    @property
    def key(self) -> str:
        return f"n:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSkipped:
    """A node's condition did not hold."""

    kind: ClassVar[str] = "node_skipped"
    node: str
    reason: str = ""
    v: int = 1

    @property
    def key(self) -> str:
        return f"n:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted:
    """A child run was made for a node."""

    kind: ClassVar[str] = "child_started"
    node: str
    child: str
    v: int = 1

    @property
    def key(self) -> str:
        return f"h:{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFinished:
    """A child run ended."""

    kind: ClassVar[str] = "child_finished"
    node: str
    child: str
    output: str
    label: Label
    v: int = 1

    @property
    def key(self) -> str:
        return f"c:{self.node}"
