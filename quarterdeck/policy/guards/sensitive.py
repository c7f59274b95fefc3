"""Guards that find credentials and personal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quarterdeck.core.masking import Mask
from quarterdeck.core.personal import found
from quarterdeck.policy.guards.base import About, Finding

__all__ = ["Personal", "Secrets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Credentials: the deployment's own by value, others by what they look like. Nothing makes them right to say."""

    mask: Mask
    name: str = "secrets"

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        return [Finding(self.name, start, end) for start, end in self.mask.spans(text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """Personal data of one kind (`core.personal.KINDS`), unless trusted text says it: who typed a number knows it."""

    name: str

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        spans = list(found(self.name, text))
        if not spans:
            return ()
        ground = about.trusted()
        return [Finding(self.name, start, end) for start, end in spans if not ground.holds(text[start:end])]
