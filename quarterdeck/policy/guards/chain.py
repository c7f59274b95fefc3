"""Guards in a row, each with what is done about what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import anyio.lowlevel

from quarterdeck.policy.guards.base import About, Finding, Guard, Ruling

__all__ = ["Chain", "Checked", "Hit", "Link", "redacted"]


_LONG = 20_000  # characters that one guard reads in a few milliseconds: between two of them others have their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A guard and the ruling on all it finds."""

    guard: Guard
    ruling: Ruling


@dataclass(frozen=True, slots=True)
class Hit:
    """A finding and the ruling on it."""

    ruling: Ruling
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A text that was looked at.

    Attributes:
        text: Without what had to be redacted. Of a blocked one it is up to the caller to say nothing of it.
        hits: Everything that was found.
    """

    text: str
    hits: tuple[Hit, ...] = ()

    @property
    def ruling(self) -> Ruling:
        """The severest."""
        return max((hit.ruling for hit in self.hits), key=lambda ruling: ruling.severity, default=Ruling.ALLOW)

    @property
    def rules(self) -> tuple[tuple[str, Ruling], ...]:
        """Each rule that found something, with its ruling, once."""
        return tuple(dict.fromkeys((hit.finding.rule, hit.ruling) for hit in self.hits))


class Chain:
    """Guards in a row. Every one sees the text as it came, so their order changes nothing."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self.links = tuple(link for link in links if link.ruling is not Ruling.ALLOW)

    async def find(self, text: str, about: About) -> tuple[Hit, ...]:
        """What the guards find."""
        if not text:
            return ()
        hits: list[Hit] = []
        long = len(text) > _LONG
        for link in self.links:
            if long:
                await anyio.lowlevel.checkpoint()
            hits += [Hit(link.ruling, finding) for finding in await link.guard.find(text, about)]
        return tuple(hits)

    async def check(self, text: str, about: About) -> Checked:
        """What the guards find, and the text without what is to be redacted."""
        hits = await self.find(text, about)
        return Checked(text=redacted(text, hits) if hits else text, hits=hits)


def redacted(text: str, hits: Sequence[Hit]) -> str:
    """`text` with what stands instead in place of everything that is to be redacted; of two that overlap the longer."""
    spans = [hit.finding for hit in hits if hit.ruling is Ruling.REDACT]
    kept: list[str] = []
    at = 0
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if span.start >= at:
            kept += (text[at : span.start], span.instead)
        at = max(at, span.end)
    return "".join((*kept, text[at:])) if kept else text
