"""What one reader of a story may see: each text by its own label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Message
from quarterdeck.service.withdrawn import NOTHING, Withdrawn

__all__ = ["Eyes"]


class Eyes:
    """Shows what its principal may read, and a mark in place of everything else.

    Attributes:
        asker: Who asked in the run; nobody else is shown what was said in it.
        withheld: True once something was left out.
    """

    def __init__(self, principal: Principal, withdrawn: Withdrawn = NOTHING) -> None:
        """Args: withdrawn: Passages the principal was shown once and may not read any more."""
        self._principal = principal
        self._withdrawn = withdrawn
        self.asker: str | None = None
        self.withheld = False

    @property
    def operates(self) -> bool:
        """True for who may see how agents are instructed."""
        return "operate" in self._principal.scopes

    def reads(self, label: Label) -> bool:
        """True if a text with this label may be shown; else it is noted that something was left out."""
        may = self.asker == self._principal.user and label.readers.admits(self._principal.names)
        may = may and not self._withdrawn.touches(label)
        self.withheld = self.withheld or not may
        return may

    def text(self, text: str, label: Label) -> dict[str, Any]:
        """A text with its label, or a mark in its place."""
        if not self.reads(label):
            return {"withheld": True, "integrity": label.integrity.name.lower()}
        return {"text": text, **_label(label)}

    def value(self, value: Any, label: Label) -> Any:
        """A JSON value, or a mark in its place."""
        return value if self.reads(label) else {"withheld": True}

    def passage(self, passage: Passage) -> dict[str, Any]:
        """A passage with its score; the score alone where it may not be read, and its id where it could be once."""
        if not self.reads(passage.label):
            known = self.asker == self._principal.user and passage.id in self._withdrawn
            named = {"id": passage.id, "document": passage.doc_id} if known else {}
            return {**named, "withheld": True, "score": passage.score}
        return {
            "id": passage.id,
            "document": passage.doc_id,
            "title": passage.title,
            "heading_path": list(passage.heading_path),
            "score": passage.score,
            "uri": passage.uri,
            "span": [passage.start, passage.end],
            **self.text(passage.text, passage.label),
        }

    def message(self, message: Message) -> dict[str, Any]:
        """A message as a model was given it."""
        told: dict[str, Any] = {"role": message.role.value, **self.text(message.text, message.label)}
        if message.tool_calls:
            told["tool_calls"] = [
                {"id": call.id, "name": call.name, "arguments": self.value(call.args, message.label)}
                for call in message.tool_calls
            ]
        if message.call_id is not None:
            told["call_id"] = message.call_id
        return told

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [self.message(message) for message in messages]


def _label(label: Label) -> dict[str, Any]:
    return {
        "integrity": label.integrity.name.lower(),
        "readers": [list(clause) for clause in label.readers.clauses],
        "sources": list(label.sources),
    }
