"""A run as a response: whole, or event by event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quarterdeck.core.runs import RunStatus
from quarterdeck.core.usage import Usage
from quarterdeck.service.streams import Signal
from quarterdeck.service.views import RunView
from quarterdeck.store.base import Entry
from quarterdeck.transports.http.shapes import chat_answer
from quarterdeck.transports.http.sse import frame
from quarterdeck.transports.http.wire import dump
from quarterdeck.transports.openai_compat.chat import Served, cut_short
from quarterdeck.transports.openai_compat.citing import marks
from quarterdeck.transports.openai_compat.errors import error_body
from quarterdeck.transports.openai_compat.tools import tool_calls
from quarterdeck.transports.openai_compat.words import Words, text_of

__all__ = ["PREFIX", "ResponseEvents", "response"]

PREFIX = "resp_"  # before a run's id


def response(run: RunView, served: Served, text: str | None = None) -> dict[str, Any]:
    """A run as a ``response``; all that OpenAI has no field for stands under ``quarterdeck``.

    Args:
        text: What was streamed of it, None for what the run says.
    """
    status = _status(run)
    if text is None:
        text = text_of(run) if run.rests and run.failure is None else ""
    reason = cut_short(run)
    return {
        "id": PREFIX + run.run_id,
        "object": "response",
        "created_at": int(run.created_at.timestamp()),
        "status": status,
        "background": served.background,
        "completed_at": int(run.updated_at.timestamp()) if status == "completed" else None,
        "error": _error(run),
        "incomplete_details": {"reason": reason} if reason and status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": served.model,
        "output": [*([_item(run, text, _item_status(status))] if text else ()), *_function_calls(run)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": _usage(run.usage) if run.rests else None,
        "user": None,
        "metadata": {**served.metadata, "run_id": run.run_id},
        "quarterdeck": chat_answer(run),
    }


class ResponseEvents:
    """Events of one run, numbered from 0: made, its one message piece by piece, and how it ended."""

    def __init__(self, run_id: str, served: Served, *, live: bool) -> None:
        self._words = Words(run_id, live=live)
        self._served = served
        self._number = -1
        self._place = {"item_id": f"msg_{run_id}", "output_index": 0, "content_index": 0}

    @property
    def rests(self) -> bool:
        return self._words.over

    def __call__(self, signal: Signal) -> Iterator[bytes]:
        if self._words.over:
            return
        before = self._words.text
        pieces = list(self._words(signal))
        if self._number < 0 and isinstance(signal, Entry):
            yield from self._begin()
        if pieces and not before:
            yield from self._open()
        for piece in pieces:
            yield self._event("output_text.delta", {**self._place, "delta": piece, "logprobs": []})
        if self._words.over:
            yield from self._end(self._words.view)

    def _begin(self) -> Iterator[bytes]:
        made = response(self._words.view, self._served, "") | {"status": "in_progress", "completed_at": None, "usage": None}
        yield self._event("created", {"response": made})
        yield self._event("in_progress", {"response": made})

    def _open(self) -> Iterator[bytes]:
        item = _item(self._words.view, "", "in_progress") | {"content": []}
        yield self._event("output_item.added", {"output_index": 0, "item": item})
        yield self._event("content_part.added", {**self._place, "part": _part("")})

    def _end(self, run: RunView) -> Iterator[bytes]:
        text = self._words.text
        whole = response(run, self._served, text)
        if text:
            item = _item(run, text, _item_status(whole["status"]))
            yield self._event("output_text.done", {**self._place, "text": text, "logprobs": []})
            yield self._event("content_part.done", {**self._place, "part": _part(text, _annotations(run, text))})
            yield self._event("output_item.done", {"output_index": 0, "item": item})
        for at, item in enumerate(_function_calls(run), 1 if text else 0):
            place = {"item_id": item["id"], "output_index": at}
            yield self._event(
                "output_item.added", {"output_index": at, "item": item | {"arguments": "", "status": "in_progress"}}
            )
            yield self._event("function_call_arguments.delta", {**place, "delta": item["arguments"]})
            told = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("function_call_arguments.done", {**place, **told})
            yield self._event("output_item.done", {"output_index": at, "item": item})
        # There is no event of a cancelled response: to who reads its stream it is not the whole one.
        yield self._event("incomplete" if whole["status"] == "cancelled" else whole["status"], {"response": whole})

    def _event(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        self._number += 1
        name = f"response.{kind}"
        return frame(name, dump({"type": name, "sequence_number": self._number, **fields}))


def _status(run: RunView) -> str:
    """A run that waits for a person has said what it can for now: to the client that is a complete response."""
    if run.status is RunStatus.FAILED:  # why is only for who may read it
        return "failed"
    if not run.rests:
        return "in_progress"
    if run.status is RunStatus.CANCELLED:
        return "cancelled"
    return "incomplete" if cut_short(run) else "completed"


def _item_status(status: str) -> str:
    return status if status in ("completed", "in_progress") else "incomplete"


def _error(run: RunView) -> dict[str, Any] | None:
    if run.failure is None:
        return None
    told = error_body(run.failure.code, f"run {run.run_id} failed: {run.failure.message}")
    return {"code": "server_error", "message": f"{told['code']}: {told['message']}"}


def _item(run: RunView, text: str, status: str) -> dict[str, Any]:
    part = _part(text, _annotations(run, text))
    return {"id": f"msg_{run.run_id}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _function_calls(run: RunView) -> list[dict[str, Any]]:
    """The calls that the client has to execute, as items."""
    return [
        {"id": f"fc_{call['id']}", "type": "function_call", "call_id": call["id"], "status": "completed", **call["function"]}
        for call in tool_calls(run)
    ]


def _annotations(run: RunView, text: str) -> list[dict[str, Any]]:
    return [{"type": "url_citation", **mark.fields()} for mark in marks(run, text)]


def _part(text: str, annotations: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    return {"type": "output_text", "annotations": list(annotations), "logprobs": [], "text": text}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
