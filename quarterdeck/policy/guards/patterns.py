"""A guard that finds what a pattern of the configuration matches, in time linear in the text (RE2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterdeck.core.errors import Misconfigured
from quarterdeck.policy.guards.base import About, Finding

__all__ = ["Pattern", "compiled"]

_MAX_PATTERN = 1_000
_MEMORY = 8 << 20  # bytes one pattern may take, however its repetitions multiply


def compiled(pattern: str, *, longest: int = _MAX_PATTERN) -> Any:
    """The pattern as RE2 reads it.

    Raises:
        Misconfigured: It is too long, or RE2 refuses it: backreferences and lookarounds cannot be had in linear time.
    """
    try:
        import re2  # comes with the server extra
    except ImportError as error:
        raise Misconfigured("patterns of guards need google-re2, of quarterdeck[server]") from error
    if len(pattern) > longest:
        raise Misconfigured(f"a pattern has at most {longest} characters")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise Misconfigured(f"RE2 refuses the pattern: {said.decode() if isinstance(said, bytes) else said}") from error


class Pattern:
    """What a pattern matches. A match of nothing is none."""

    def __init__(self, name: str, pattern: str) -> None:
        """Raises Misconfigured as `compiled` does."""
        self.name = name
        self._pattern = compiled(pattern)

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        return [Finding(self.name, *match.span()) for match in self._pattern.finditer(text) if match.start() < match.end()]
