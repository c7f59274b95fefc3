"""The semantic events of a response, told from the finished one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from quarterdeck.devtools.simulator.shape import pieces

__all__ = ["response_events"]

Told = tuple[str, dict[str, Any]]


def response_events(response: dict[str, Any]) -> list[bytes]:
    """Every event of the stream of `response`, numbered from 0."""
    events = []
    for number, (kind, fields) in enumerate(_told(response)):
        data = orjson.dumps({"type": kind, "sequence_number": number, **fields})
        events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
    return events


def _told(response: dict[str, Any]) -> Iterator[Told]:
    begun = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
        "completed_at": None,
    }
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(response["output"]):
        kind: Callable[[dict[str, Any], dict[str, Any]], Iterator[Told]] = {
            "reasoning": _reasoning,
            "message": _message,
            "function_call": _function_call,
        }[item["type"]]
        yield from kind(item, {"output_index": index})
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{response['status']}", {"response": response}


def _reasoning(item: dict[str, Any], at: dict[str, Any]) -> Iterator[Told]:
    yield "response.output_item.added", {**at, "item": {**item, "summary": []}}
    place = {"item_id": item["id"], **at, "summary_index": 0}
    part = item["summary"][0]
    yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield "response.reasoning_summary_text.delta", {**place, "delta": piece}
    yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}
    yield "response.reasoning_summary_part.done", {**place, "part": part}


def _message(item: dict[str, Any], at: dict[str, Any]) -> Iterator[Told]:
    yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", "content": []}}
    place = {"item_id": item["id"], **at, "content_index": 0}
    part = item["content"][0]
    if part["type"] == "refusal":
        yield "response.content_part.added", {**place, "part": {**part, "refusal": ""}}
        for piece in pieces(part["refusal"]):
            yield "response.refusal.delta", {**place, "delta": piece}
        yield "response.refusal.done", {**place, "refusal": part["refusal"]}
    else:
        yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
        yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}


def _function_call(item: dict[str, Any], at: dict[str, Any]) -> Iterator[Told]:
    yield "response.output_item.added", {**at, "item": {**item, "status": "in_progress", "arguments": ""}}
    place = {"item_id": item["id"], **at}
    for piece in pieces(item["arguments"]):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"], "name": item["name"]}
