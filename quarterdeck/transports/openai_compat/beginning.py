"""The beginning of a reply that will stand in its answer as it is, however the reply goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from quarterdeck.core.answers import Passage
from quarterdeck.knowledge.cite import resolve

__all__ = ["Beginning"]

_OPENING, _CLOSING = "[【［〔", "]】］〕"
_UNCLEAR = re.compile(rf"\A[(:]|[{re.escape(_OPENING)}]")  # what follows a mark and may belong to it, or begins another
_GAP = re.compile(r"\n{3,}")
_MAX_READINGS = 50  # of a reply while it comes: each reads it from its beginning


class Beginning:
    """Of one reply, looked at again and again while it grows."""

    def __init__(self) -> None:
        self._upto, self._read = 0, ""  # up to where it was read for marks, and what that gave
        self._readings = 0

    def of(self, text: str, passages: Mapping[str, Passage]) -> str:
        """What is settled of `text`, its marks as numbers, without white space at its end."""
        if any(opening in text for opening in _OPENING):
            text = self._numbered(_without_open_code(text), passages)
        text = text.strip()
        return _GAP.sub("\n\n", text) if "\n\n\n" in text else text

    def _numbered(self, text: str, passages: Mapping[str, Passage]) -> str:
        """`text` up to where a mark or a link is not complete."""
        end = max(map(text.rfind, _CLOSING)) + 1
        if text.startswith("(", end):
            end = text.find(")", end) + 1 or end
        if _without_open_code(text[:end]) != text[:end]:
            end = text.index("`", end) + 1
        if end > self._upto:
            if self._readings == _MAX_READINGS:
                return self._read  # the rest comes with the answer
            self._readings += 1
            self._upto, self._read = end, resolve(text[:end], passages).text
        tail = text[end:]
        unclear = _UNCLEAR.search(tail)
        return self._read + tail[: unclear.start() if unclear else None]


def _without_open_code(text: str) -> str:
    """`text` up to a code span that is not closed yet: what stands in one is no mark."""
    line = text[text.rfind("\n") + 1 :]
    if line.count("`") % 2 and not line.lstrip().startswith("```"):
        return text[: text.rfind("`")]
    return text
