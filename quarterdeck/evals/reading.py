"""Reads an answer again as its reader is shown it: marks, sentences, and what each of them cites."""

from __future__ import annotations

import re

from quarterdeck.core.answers import Passage
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.evals.base import Outcome
from quarterdeck.knowledge.cite import Cited, resolve

__all__ = ["claimed", "resolved", "unmarked"]

_MARK = re.compile(r"[ \t]*\[(\d{1,3})\]")
_SHOWN = Label(integrity=Integrity.UNTRUSTED, readers=PUBLIC)


def unmarked(outcome: Outcome) -> str:
    """The answer without the marks of its sources; what else stands in brackets stays."""
    return _MARK.sub(lambda mark: "" if 0 < int(mark[1]) <= len(outcome.sources) else mark[0], outcome.answer)


def claimed(outcome: Outcome) -> tuple[int, int]:
    """How many sentences claim something, and how many of those cite passages that bear them out."""
    read = resolved(outcome)
    cited = {statement.sentence for statement in read.statements if statement.passages}
    return len(cited) + len(read.uncited), len(cited.difference(read.unsupported))


def resolved(outcome: Outcome) -> Cited:
    """The answer's sentences beside what they cite, read again from what the reader is shown."""
    ids = [source.id for source in outcome.sources]

    def named(mark: re.Match[str]) -> str:
        number = int(mark[1])
        return f" [{ids[number - 1]}]" if 0 < number <= len(ids) else mark[0]

    passages = {
        source.id: Passage(id=source.id, doc_id=source.document, title=source.title, text=source.text, label=_SHOWN)
        for source in outcome.sources
    }
    return resolve(_MARK.sub(named, outcome.answer), passages)
