"""A run as a chat completion: whole, or chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from quarterdeck.core.runs import StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.service.streams import Signal
from quarterdeck.service.views import RunView
from quarterdeck.store.base import Entry
from quarterdeck.transports.http.shapes import chat_answer
from quarterdeck.transports.http.wire import dump
from quarterdeck.transports.openai_compat.citing import marks
from quarterdeck.transports.openai_compat.errors import error_body
from quarterdeck.transports.openai_compat.tools import tool_calls
from quarterdeck.transports.openai_compat.words import Words, text_of

__all__ = ["ChatChunks", "Served", "completion", "cut_short"]

_CUT = frozenset(
    {
        StopReason.TRUNCATED,
        StopReason.TURN_LIMIT,
        StopReason.TIME_LIMIT,
        StopReason.TOKEN_LIMIT,
        StopReason.COST_LIMIT,
        StopReason.CONTEXT_TOO_LARGE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What every body says of the request it answers.

    Attributes:
        model: The agent's name.
        fingerprint: Changes when the agent's declaration does.
        metadata: As the client sent it.
        background: True if the client did not wait, None where that is no longer known.
    """

    model: str
    fingerprint: str
    metadata: Mapping[str, str]
    background: bool | None = False


def cut_short(run: RunView) -> Literal["max_output_tokens", "content_filter"] | None:
    """Why an answer is not the whole one, None if it is."""
    if run.stop_reason is StopReason.FILTERED:
        return "content_filter"
    return "max_output_tokens" if run.stop_reason in _CUT else None


def completion(run: RunView, served: Served) -> dict[str, Any]:
    """A run that rests, as ``chat.completion``; all that OpenAI has no field for stands under ``quarterdeck``."""
    text = text_of(run)
    cited = [{"type": "url_citation", "url_citation": mark.fields()} for mark in marks(run, text)]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": cited}
    if run.client_calls:
        message |= {"content": text or None, "tool_calls": tool_calls(run)}
    return {
        **_head(run, served, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(run)}],
        "usage": _usage(run.usage),
        "metadata": {**served.metadata, "run_id": run.run_id},
        "quarterdeck": chat_answer(run),
    }


class ChatChunks:
    """Chunks of one run: the role, pieces of its text, why it ends, and with `tells_usage` what it used."""

    def __init__(self, run_id: str, served: Served, *, live: bool, tells_usage: bool) -> None:
        self._words = Words(run_id, live=live)
        self._served = served
        self._tells_usage = tells_usage
        self._head: dict[str, Any] = {}

    @property
    def rests(self) -> bool:
        return self._words.over

    def __call__(self, signal: Signal) -> Iterator[bytes]:
        if self._words.over:
            return
        pieces = list(self._words(signal))
        if not self._head and isinstance(signal, Entry):
            self._head = _head(self._words.view, self._served, "chat.completion.chunk")
            yield self._delta({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces:
            yield self._delta({"content": piece})
        if self._words.over:
            yield from self._end(self._words.view)

    def _end(self, run: RunView) -> Iterator[bytes]:
        if run.failure is not None:
            yield _data({"error": error_body(run.failure.code, f"run {run.run_id} failed: {run.failure.message}")})
            return
        if run.client_calls:
            yield self._delta({"tool_calls": [{"index": at, **call} for at, call in enumerate(tool_calls(run))]})
        last = {"metadata": {**self._served.metadata, "run_id": run.run_id}, "quarterdeck": chat_answer(run)}
        yield self._delta({}, _finish(run), last)
        if self._tells_usage:
            yield _data({**self._head, "choices": [], "usage": _usage(run.usage)})

    def _delta(self, delta: Mapping[str, Any], finish: str | None = None, more: Mapping[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self._tells_usage else {}  # so that every chunk has the field, as OpenAI's have
        return _data({**self._head, "choices": [choice], **usage, **(more or {})})


def _head(run: RunView, served: Served, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{run.run_id}",
        "object": kind,
        "created": int(run.created_at.timestamp()),
        "model": served.model,
        "service_tier": "default",
        "system_fingerprint": served.fingerprint,
    }


def _finish(run: RunView) -> str:
    if run.client_calls:
        return "tool_calls"
    return {None: "stop", "max_output_tokens": "length", "content_filter": "content_filter"}[cut_short(run)]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + dump(value) + b"\n\n"
