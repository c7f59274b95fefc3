"""The dialects models are spoken to in, as servers speak them: replies, streams and errors, built from what they say.

Shapes are as these servers send them, written by hand from their documentation; none is a recording.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from quarterdeck.models.anthropic import AnthropicModel
from quarterdeck.models.azure import AzureModel
from quarterdeck.models.base import Model
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.models.responses import ResponsesModel
from quarterdeck.net import GuardedClient
from tests.provider import Handler, Provider, responds, streams

KEY = "sk-test-0123456789"


@dataclass(frozen=True)
class Called:
    """A tool call as a provider makes it; `pieces` of its arguments arrive one by one."""

    name: str
    pieces: tuple[str, ...]
    id: str = "call_1"

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


def event(data: Mapping[str, Any], *, named: bool = False) -> bytes:
    name = f"event: {data['type']}\n".encode() if named else b""
    return name + b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


class Dialect(ABC):
    """Builds what a server of one dialect sends, always with 20 tokens read, 8 of them from its cache, and 5 written."""

    name: str

    @abstractmethod
    def model(self, provider: Provider, client: GuardedClient, **options: Any) -> Model: ...

    @abstractmethod
    def whole(self, text: str = "", calls: Sequence[Called] = (), finish: str = "stop") -> dict[str, Any]: ...

    @abstractmethod
    def stream(self, words: Sequence[str] = (), calls: Sequence[Called] = (), finish: str = "stop") -> Iterator[bytes]:
        """One event each; the last two end the reply."""

    @abstractmethod
    def forced(self, asked: Mapping[str, Any]) -> str | None:
        """The tool a request demands, None if it leaves the choice."""

    @abstractmethod
    def last_text(self, asked: Mapping[str, Any]) -> str: ...

    def error(self, message: str, kind: str = "api_error") -> dict[str, Any]:
        return {"error": {"message": message, "type": kind, "code": kind}}

    def late_error(self, message: str, kind: str) -> bytes:
        return event(self.error(message, kind))

    def answers(self, *args: Any, watched: bool = False, **kwargs: Any) -> Handler:
        if watched:
            return streams(*self.stream(*args, **kwargs))
        return responds(200, json.dumps(self.whole(*(("".join(args[0]), *args[1:]) if args else ()), **kwargs)))

    async def obliging(self, request: web.Request) -> web.StreamResponse:
        """Calls the tool it must; otherwise repeats the question, streamed if asked to."""
        asked = json.loads(await request.read())
        tool = self.forced(asked)
        calls = [Called(tool, ('{"city": ', '"Oslo"}'))] if tool else []
        words = [] if tool else [f"{word} " for word in self.last_text(asked).split()]
        return await self.answers(words, calls, "tool_calls" if tool else "stop", watched=bool(asked.get("stream")))(request)


class Chat(Dialect):
    name = "openai"
    usage: Mapping[str, Any] = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}

    def model(self, provider: Provider, client: GuardedClient, **options: Any) -> Model:
        return OpenAIModel("openai:gpt-test", base_url=provider.base_url, api_key=KEY, client=client, **options)

    def whole(self, text: str = "", calls: Sequence[Called] = (), finish: str = "stop") -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [self._call(call, call.arguments) for call in calls]
        return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": self.usage}

    def stream(self, words: Sequence[str] = (), calls: Sequence[Called] = (), finish: str = "stop") -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        for word in words:
            yield self._chunk({"content": word})
        for index, call in enumerate(calls):
            yield self._chunk({"tool_calls": [{"index": index, **self._call(call, "")}]})
            for piece in call.pieces:
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield self._chunk({}, finish)
        yield event({"choices": [], "usage": self.usage}) + b"data: [DONE]\n\n"

    def forced(self, asked: Mapping[str, Any]) -> str | None:
        demanded = asked.get("tool_choice") not in (None, "auto", "none")
        return asked["tools"][0]["function"]["name"] if demanded else None

    def last_text(self, asked: Mapping[str, Any]) -> str:
        return str(asked["messages"][-1]["content"])

    def _call(self, call: Called, arguments: str) -> dict[str, Any]:
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


class Azure(Chat):
    name = "azure"

    def model(self, provider: Provider, client: GuardedClient, **options: Any) -> Model:
        return AzureModel("azure:gpt-test", base_url=provider.origin, api_key=KEY, client=client, api_version="v", **options)

    def stream(self, words: Sequence[str] = (), calls: Sequence[Called] = (), finish: str = "stop") -> Iterator[bytes]:
        filters = {"hate": {"filtered": False, "severity": "safe"}}
        yield event({"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": filters}]})
        yield from super().stream(words, calls, finish)


class Responses(Dialect):
    name = "responses"
    usage: Mapping[str, Any] = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
    }

    def model(self, provider: Provider, client: GuardedClient, **options: Any) -> Model:
        return ResponsesModel("openai-responses:gpt-test", base_url=provider.base_url, api_key=KEY, client=client, **options)

    def whole(self, text: str = "", calls: Sequence[Called] = (), finish: str = "stop") -> dict[str, Any]:
        output: list[dict[str, Any]] = []
        if text:
            said = {"type": "output_text", "text": text, "annotations": []}
            output.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]})
        output += [self._call(call, call.arguments) for call in calls]
        reasons: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
        return {
            "id": "resp_1",
            "object": "response",
            "status": "incomplete" if finish in reasons else "completed",
            "error": None,
            "incomplete_details": {"reason": reasons[finish]} if finish in reasons else None,
            "output": output,
            "usage": self.usage,
        }

    def stream(self, words: Sequence[str] = (), calls: Sequence[Called] = (), finish: str = "stop") -> Iterator[bytes]:
        text = "".join(words)
        whole = self.whole(text, calls, finish)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        yield event({"type": "response.created", "response": begun}, named=True)
        yield event({"type": "response.in_progress", "response": begun}, named=True)
        for place, item in enumerate(whole["output"]):
            at = {"output_index": place, "item_id": f"item_{place}"}
            empty = {**item, "content": []} if item["type"] == "message" else {**item, "arguments": ""}
            yield event({"type": "response.output_item.added", **at, "item": empty}, named=True)
            if item["type"] == "message":
                for word in words:
                    yield event({"type": "response.output_text.delta", **at, "content_index": 0, "delta": word}, named=True)
                yield event({"type": "response.output_text.done", **at, "content_index": 0, "text": text}, named=True)
            else:
                call = calls[place - bool(text)]
                for piece in call.pieces:
                    yield event({"type": "response.function_call_arguments.delta", **at, "delta": piece}, named=True)
                done = {"type": "response.function_call_arguments.done", **at, "arguments": call.arguments}
                yield event(done, named=True)
            yield event({"type": "response.output_item.done", **at, "item": item}, named=True)
        yield event({"type": f"response.{whole['status']}", "response": whole}, named=True)
        yield b": the end\n\n"

    def forced(self, asked: Mapping[str, Any]) -> str | None:
        return asked["tools"][0]["name"] if asked.get("tool_choice") not in (None, "auto", "none") else None

    def last_text(self, asked: Mapping[str, Any]) -> str:
        return str(asked["input"][-1]["content"])

    def late_error(self, message: str, kind: str) -> bytes:
        failed = {"status": "failed", "error": {"code": kind, "message": message}, "output": [], "usage": None}
        return event({"type": "response.failed", "response": failed}, named=True)

    def _call(self, call: Called, arguments: str) -> dict[str, Any]:
        return {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments,
            "status": "completed",
        }


class Anthropic(Dialect):
    name = "anthropic"
    usage: Mapping[str, Any] = {
        "input_tokens": 12,
        "cache_read_input_tokens": 8,
        "cache_creation_input_tokens": 0,
        "output_tokens": 5,
    }
    reasons: Mapping[str, str] = {
        "stop": "end_turn",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
    }

    def model(self, provider: Provider, client: GuardedClient, **options: Any) -> Model:
        return AnthropicModel("anthropic:claude-test", base_url=provider.base_url, api_key=KEY, client=client, **options)

    def whole(self, text: str = "", calls: Sequence[Called] = (), finish: str = "stop") -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)} for call in calls
        ]
        reason = self.reasons.get(finish, finish)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-test",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": self.usage,
        }

    def stream(self, words: Sequence[str] = (), calls: Sequence[Called] = (), finish: str = "stop") -> Iterator[bytes]:
        whole = self.whole("".join(words), calls, finish)
        begun = {**whole, "content": [], "stop_reason": None, "usage": {**self.usage, "output_tokens": 1}}
        yield event({"type": "message_start", "message": begun}, named=True)
        yield event({"type": "ping"}, named=True)
        index = 0
        if words:
            yield from self._block(index, {"type": "text", "text": ""}, "text_delta", "text", words)
            index += 1
        for call in calls:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield from self._block(index, block, "input_json_delta", "partial_json", ("", *call.pieces))
            index += 1
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}, named=True)
        yield event({"type": "message_stop"}, named=True)

    def _block(self, index: int, block: Any, kind: str, key: str, pieces: Sequence[str]) -> Iterator[bytes]:
        yield event({"type": "content_block_start", "index": index, "content_block": block}, named=True)
        for piece in pieces:
            delta = {"type": kind, key: piece}
            yield event({"type": "content_block_delta", "index": index, "delta": delta}, named=True)
        yield event({"type": "content_block_stop", "index": index}, named=True)

    def forced(self, asked: Mapping[str, Any]) -> str | None:
        return asked["tools"][0]["name"] if asked.get("tool_choice", {}).get("type") in ("any", "tool") else None

    def last_text(self, asked: Mapping[str, Any]) -> str:
        return str(asked["messages"][-1]["content"][-1]["text"])

    def error(self, message: str, kind: str = "api_error") -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    def late_error(self, message: str, kind: str) -> bytes:
        return event(self.error(message, kind), named=True)


def _object(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


DIALECTS: Mapping[str, Dialect] = {each.name: each for each in (Chat(), Azure(), Responses(), Anthropic())}
