"""Models behind an OpenAI-compatible ``/chat/completions``: OpenAI, Azure, vLLM, Ollama, DeepSeek and most others."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Literal

from quarterdeck.core.context import Context
from quarterdeck.core.errors import (
    DeadlineExceeded,
    Forbidden,
    Misconfigured,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
    QuarterdeckError,
    TooLarge,
    Truncated,
    Unavailable,
)
from quarterdeck.core.messages import Message, Role
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.hearing import Hearing
from quarterdeck.models.sse import EventStream
from quarterdeck.models.wire import decode, encode, failure, read_fault, shortened, traceparent
from quarterdeck.net.client import GuardedClient, Reply

__all__ = ["OpenAIModel"]

_MAX_REPLY = 32 << 20
_MAX_FAULT = 64 << 10
_TICK_S = 0.005  # timers of some event loops fire a few milliseconds early
_UNSAFE_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NEGOTIABLE = frozenset({"temperature", "max_tokens"})
_FINISHES: Mapping[str, Literal["stop", "tool_calls", "length", "content_filter"]] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


class OpenAIModel:
    """Speaks chat completions over the guarded client: one request per call, streamed only if somebody watches.

    Its only state is which parameters the model has refused: newer models take no temperature and another name for
    ``max_tokens``, and say so in an error. Such a call is sent again without, and later calls leave them out from the start.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str,
        client: GuardedClient,
        timeout_s: float = 60.0,
        idle_timeout_s: float = 30.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            name: ``provider:name``; what stands behind the colon is sent.
            base_url: Up to and without ``/chat/completions``.
            api_key: Empty if the server wants none.
            timeout_s: For one request, streamed or not; the caller's deadline shortens it.
            idle_timeout_s: Between two pieces of a streamed reply.
            options: Sent with every request; the request's own win.
        """
        self._name = name
        self._wire_name = name.partition(":")[2] or name
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = api_key.strip()
        if not self._key.isprintable() or not self._key.isascii():
            raise Misconfigured(f"the API key of {name} has characters no header can carry: copy it again")
        self._headers = {"Content-Type": "application/json"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._client = client
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._options = dict(options or {})
        self._refused: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        started = time.monotonic()
        attempts = 1
        while True:
            hearing = Hearing(self._name, emit)
            try:
                async with self._send(request, ctx, hearing) as reply:
                    if 200 <= reply.status < 300:
                        await self._listen(reply, hearing)
                        break
                    refused = await self._refusal(reply)
            except (Forbidden, TooLarge, Unavailable) as error:
                if isinstance(error, Unavailable) and type(error) is not Unavailable:
                    raise  # already said in the words of the protocol, or the watcher's own
                raise self._told(error, ctx, hearing) from error
            self._refused |= {refused}
            attempts += 1
        return self._completion(request, hearing, seconds=time.monotonic() - started, attempts=attempts)

    def _send(self, request: ModelRequest, ctx: Context, hearing: Hearing) -> AbstractAsyncContextManager[Reply]:
        headers = self._headers
        if (parent := traceparent(ctx.trace_id)) is not None:
            headers = {**headers, "traceparent": parent}
        return self._client.open(
            "POST",
            self._url,
            headers=headers,
            body=encode(self._payload(request, streamed=hearing.watched)),
            timeout_s=min(ctx.remaining_s(), self._timeout_s),
            idle_timeout_s=self._idle_timeout_s if hearing.watched else None,
            max_bytes=_MAX_REPLY,
        )

    def _told(self, error: QuarterdeckError, ctx: Context, hearing: Hearing) -> QuarterdeckError:
        """The network's failure in the words of the protocol."""
        if isinstance(error, Forbidden):
            return ModelRefused(f"{self._name} was not called: {error}")
        if isinstance(error, TooLarge):
            return ModelInvalid(f"{self._name}: {error}")
        if ctx.deadline - time.monotonic() < _TICK_S:
            return DeadlineExceeded(f"run {ctx.run_id} has used up its time waiting for {self._name}")
        return ModelUnavailable(f"{self._name}: {error}", delivered=hearing.delivered)

    def _payload(self, request: ModelRequest, *, streamed: bool) -> dict[str, Any]:
        payload: dict[str, Any] = {"temperature": request.temperature}
        if request.max_tokens is not None:
            payload["max_tokens"] = request.max_tokens
        if "temperature" in self._refused:
            del payload["temperature"]
        if "max_tokens" in self._refused and "max_tokens" in payload:
            payload["max_completion_tokens"] = payload.pop("max_tokens")
        payload |= self._options
        payload |= request.options
        payload["model"] = self._wire_name
        payload["messages"] = [_message(message) for message in request.messages]
        if request.tools:
            payload["tools"] = [
                {
                    "type": "function",
                    "function": {"name": _safe(tool.name), "description": tool.description, "parameters": tool.input_schema},
                }
                for tool in request.tools
            ]
            if request.tool_choice != "auto":
                payload["tool_choice"] = _choice(request.tool_choice)
        if request.output_schema is not None:
            payload["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.output_schema},
            }
        if streamed:
            payload |= {"stream": True, "stream_options": {"include_usage": True}}
        return payload

    async def _refusal(self, reply: Reply) -> str:
        """The parameter this model does not take, if that is all; otherwise raises the error the reply is."""
        body = await _beginning(reply)
        try:
            decoded = decode(body)
        except ValueError:
            decoded = body.decode("utf-8", "replace")
        fault = read_fault(decoded, self._key)
        if (
            reply.status == 400
            and fault.code in ("unsupported_parameter", "unsupported_value")
            and fault.param in _NEGOTIABLE - self._refused
        ):
            return fault.param
        if 300 <= reply.status < 400:
            raise ModelRefused(f"{self._name} answered {reply.status}, a redirect: set its base_url to where it points")
        raise failure(self._name, reply.status, reply.headers, fault)

    async def _listen(self, reply: Reply, hearing: Hearing) -> None:
        if hearing.watched and "json" not in reply.headers.get("Content-Type", ""):
            await self._listen_to_stream(reply, hearing)
        else:
            await self._hear(await reply.read(), reply, hearing)
            hearing.ended = True

    async def _listen_to_stream(self, reply: Reply, hearing: Hearing) -> None:
        stream = EventStream()
        try:
            while not hearing.ended:
                chunk = await reply.read_some()
                for data in stream.feed(chunk) if chunk else stream.close():
                    if data.strip() == b"[DONE]":
                        hearing.ended = True
                        break
                    await self._hear(data, reply, hearing)
                if not chunk:
                    break
        except Unavailable as error:
            # The reply was whole already; asking again would pay for it twice.
            if type(error) is not Unavailable or hearing.finish is None:
                raise
        else:
            if hearing.ended:
                await reply.drain()

    async def _hear(self, data: bytes, reply: Reply, hearing: Hearing) -> None:
        try:
            decoded = decode(data)
        except ValueError as error:
            text = shortened(data.decode("utf-8", "replace"), self._key, limit=200)
            raise ModelInvalid(f"{self._name} answered {reply.status} with something that is not JSON: {text!r}") from error
        if not isinstance(decoded, dict):
            raise ModelInvalid(f"{self._name} answered with JSON that is no object")
        if decoded.get("error"):
            fault = read_fault(decoded, self._key)
            status = int(fault.code) if fault.code.isdecimal() and len(fault.code) == 3 else None
            failed = failure(self._name, status, reply.headers, fault)
            if isinstance(failed, ModelUnavailable):
                failed.delivered = hearing.delivered
            raise failed
        await hearing.add(decoded)

    def _completion(self, request: ModelRequest, hearing: Hearing, *, seconds: float, attempts: int) -> Completion:
        usage = hearing.usage(request, seconds)
        if not hearing.ended and hearing.finish is None:
            raise ModelInvalid(f"{self._name}: the stream ended before the reply did", usage=usage)
        finish = _FINISHES.get(hearing.finish or "", "stop")
        if finish == "length" and hearing.assembler:
            raise Truncated(f"{self._name} reached its token limit inside a tool call: raise max_tokens", usage=usage)
        if hearing.silent and finish == "stop":
            raise ModelInvalid(f"{self._name} answered with neither text nor tool calls", usage=usage)
        # What a content filter broke off is not acted upon.
        calls = hearing.calls(usage, {_safe(tool.name): tool.name for tool in request.tools}) if finish == "stop" else ()
        return Completion(
            text=hearing.text,
            tool_calls=calls,
            reasoning=hearing.reasoning,
            finish_reason="tool_calls" if calls else finish,
            usage=usage,
            model=self._name,
            attempts=attempts,
        )


async def _beginning(reply: Reply) -> bytes:
    """The first 64 KiB of a body, or what of it arrives: an error is an error even if its explanation is cut."""
    body = b""
    try:
        while len(body) < _MAX_FAULT and (piece := await reply.read_some()):
            body += piece
    except Unavailable:
        pass
    return body[:_MAX_FAULT]


@lru_cache(maxsize=1024)
def _safe(name: str) -> str:
    """`name` with what providers refuse in names of functions replaced: a model's invention must not spoil later calls."""
    return _UNSAFE_NAME.sub("_", name)[:64]


def _choice(choice: str) -> Any:
    return choice if choice in ("none", "required") else {"type": "function", "function": {"name": _safe(choice)}}


def _message(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.call_id or "", "content": message.text}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": _safe(call.name), "arguments": encode(call.args).decode()}}
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}
