"""What came back from a tool, told apart by its text alone: passages, values, errors, refusals, drafts that wait."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Outcome", "Source", "Status", "handed_over", "read_result", "sources_in"]


class Status(StrEnum):
    """passages: documents to cite. value: data. empty: nothing. The rest: it was not done, or not yet."""

    PASSAGES = "passages"
    VALUE = "value"
    EMPTY = "empty"
    ERROR = "error"
    REFUSED = "refused"
    PENDING = "pending"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Source:
    """A passage as a tool shows it.

    Attributes:
        score: What the search says speaks for it, 0 to 1; 0 where it says nothing, or on a scale of its own.
    """

    id: str
    title: str
    content: str
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, read.

    Attributes:
        value: Decoded JSON, or the text itself.
        reason: Why it was not done.
    """

    status: Status
    value: Any = None
    sources: tuple[Source, ...] = ()
    reason: str = ""


# Only the head of a text that is no JSON is looked at: what a document says further down is no verdict on the call.
_HEAD = 240
_LITTLE = 0.445  # what must speak for the best passage; it is told in hundredths, and what it refuses was measured
_PENDING = re.compile(
    r"wait(?:s|ing)? for (?:a |an |the |human |somebody'?s? )?(?:person|approval|decision|human|review)|await(?:s|"
    r"ing)? (?:\w+ )?(?:approval|decision|review)|"
    r"(?:pending|needs|requires) (?:\w+ )?(?:approval|review)|等待.{0,6}(?:审批|批准|确认)|待审批|待批准",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\brefus|\bdenied\b|\bdeny\b|\breject|\bnot (?:allowed|permitted|authori[sz]ed)\b|\bforbidden\b|\bexpired\b|"
    r"拒绝|驳回|不允许|无权|未授权|过期",
    re.IGNORECASE,
)
_IN_DOUBT = re.compile(
    r"\bin[ _]doubt\b|nobody knows whether|\bunknown whether\b|may or may not have|不确定是否", re.IGNORECASE
)
_ERROR = re.compile(
    r"^\W{0,3}(?:\w+ ){0,6}?(?:error|exception|failed|failure|did not finish|there is no|invalid|unknown (?:tool|"
    r"argument)|timed? ?out|no tool|unavailable|cannot|could not|"
    r"missing|traceback)\b|^\w*(?:Error|Exception)\b|\bfield required\b|\bnot (?:found|valid)\b|"
    r"\b(?:invalid_arguments|unknown_tool|timeout)\b|"
    r"错误|失败|无效|超时|未找到|不存在",
    re.IGNORECASE,
)
_NOT_DONE = re.compile(r"not (done|executed): ", re.IGNORECASE)
_WAITING = frozenset({"pending", "pending_approval", "awaiting_approval", "waiting_for_approval"})


def read_result(text: str) -> Outcome:
    """Tell what a result says."""
    stripped = text.strip()
    if not stripped:
        return Outcome(Status.EMPTY)
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return _read_words(stripped)
    sources = _sources(value)
    if sources:
        return Outcome(Status.PASSAGES, value, sources) if _worth_reading(sources) else Outcome(Status.EMPTY, value)
    if value is None or value == "" or value == [] or value == {}:
        return Outcome(Status.EMPTY, value)
    if isinstance(value, Mapping):
        return _read_object(value)
    return Outcome(Status.VALUE, value)


def sources_in(text: str) -> tuple[Source, ...]:
    """Passages that stand in the middle of a text, as where they were fetched before the model was asked."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\[\s*\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if sources := _sources(value):
            return sources
    return ()


def handed_over(text: str) -> tuple[Source, ...] | None:
    """Passages that make up a whole message but for the line that introduces them, perhaps none; None for any other text."""
    introduction, _, rest = text.partition("\n")
    if not introduction.rstrip().endswith((":", "：")) or not rest.lstrip().startswith("["):
        return None
    try:
        value = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    sources = _sources(value)
    if sources or value == []:
        return sources if _worth_reading(sources) else ()
    return None


def _read_words(text: str) -> Outcome:
    head = text[:_HEAD]
    if said := _NOT_DONE.match(text):
        return Outcome(Status.REFUSED if said.group(1).lower() == "done" else Status.ERROR, text, reason=text[said.end() :])
    for status, pattern in (
        (Status.PENDING, _PENDING),
        (Status.IN_DOUBT, _IN_DOUBT),
        (Status.REFUSED, _REFUSED),
        (Status.ERROR, _ERROR),
    ):
        if pattern.search(head):
            return Outcome(status, text, reason=text)
    return Outcome(Status.VALUE, text)


def _read_object(value: Mapping[str, Any]) -> Outcome:
    status = str(value.get("status", "")).lower()
    if status in _WAITING and any(key in value for key in ("draft", "draft_id", "approval", "approval_id")):
        return Outcome(Status.PENDING, value, reason=str(value.get("message", "")))
    error = value.get("error")
    if error and len(value) <= 4 and not ("result" in value or "data" in value):
        reason = str(value.get("message") or (error.get("message") if isinstance(error, Mapping) else "") or error)
        return Outcome(Status.REFUSED if _REFUSED.search(f"{error} {reason}") else Status.ERROR, value, reason=reason)
    for key in ("results", "passages", "documents", "items", "hits", "data"):
        inner = value.get(key)
        if isinstance(inner, list):
            if sources := _sources(inner):
                return Outcome(Status.PASSAGES, value, sources)
            if not inner and len(value) <= 3:
                return Outcome(Status.EMPTY, value)
    return Outcome(Status.VALUE, value)


def _worth_reading(sources: Sequence[Source]) -> bool:
    """False where the search says that little speaks for any of them: a model that reads may find an answer in them all the
    same, but whoever compares words cannot tell it from a coincidence."""
    best = max((source.score for source in sources), default=0.0)
    return not 0.0 < best < _LITTLE


def _sources(value: Any) -> tuple[Source, ...]:
    if not isinstance(value, list) or not value:
        return ()
    found = []
    for item in value:
        if not isinstance(item, Mapping) or "id" not in item:
            return ()
        content = item.get("content", item.get("text"))
        if not isinstance(content, str):
            return ()
        found.append(Source(str(item["id"]), str(item.get("title", "")), content, _score(item.get("score"))))
    return tuple(found)


def _score(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else 0.0
