"""How values of scripts and of the admin interface are read: unknown keys are errors."""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict

__all__ = ["STRICT"]

STRICT: Final = ConfigDict(extra="forbid")
