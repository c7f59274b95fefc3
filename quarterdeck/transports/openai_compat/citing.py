"""Marks of sources in a text, as OpenAI's clients read citations: where each stands, and what it leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from quarterdeck.service.views import RunView
from quarterdeck.transports.http.shapes import chat_answer

__all__ = ["Mark", "marks"]

_MARK = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark at characters `start` to `end` of a text.

    Attributes:
        url: Where a person can open the source; a path is one of this server.
    """

    start: int
    end: int
    title: str
    url: str

    def fields(self) -> dict[str, object]:
        """As annotations have it."""
        return {"start_index": self.start, "end_index": self.end, "title": self.title, "url": self.url}


def marks(run: RunView, text: str) -> Iterator[Mark]:
    """The marks in `text` that name a source of the run's answer, in order."""
    if run.answer is None:
        return
    sources = chat_answer(run)["citations"]
    for found in _MARK.finditer(text):
        number = int(found[1])
        if 0 < number <= len(sources):
            source = sources[number - 1]
            yield Mark(start=found.start(), end=found.end(), title=source["title"], url=source["uri"])
