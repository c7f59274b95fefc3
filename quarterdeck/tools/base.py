"""What an agent may do: the registry's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from quarterdeck.core.tools import Tool

__all__ = ["Toolbox"]


class Toolbox(Protocol):
    """Finds tools by name. An MCP server or an OpenAPI document is another toolbox."""

    def get(self, name: str) -> Tool | None: ...

    def names(self) -> Sequence[str]: ...
