"""Models behind Anthropic's ``/v1/messages``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.messages import Image, Message, Opaque, Role, ToolCall
from quarterdeck.models.base import Emit, ModelRequest
from quarterdeck.models.exchange import WireModel
from quarterdeck.models.listener import Counts, Finish, Listener, count, safe_name
from quarterdeck.models.parts import in_order, public_url
from quarterdeck.models.schemas import closed_schema
from quarterdeck.models.wire import Fault, decode

__all__ = ["AnthropicModel"]

MAX_TOKENS = 8192  # the API has no default of its own
_MAX_PAUSES = 10
_VERSION = "2023-06-01"
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_FINISHES: Mapping[str, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class AnthropicModel(WireModel):
    """Speaks the messages API. Signed thinking is carried back to it, and a reply it pauses is asked for to its end."""

    path = "/v1/messages"
    statuses = _STATUSES

    def _url(self, base_url: str) -> str:
        return base_url.removesuffix("/v1") + self.path  # some write the address with the version, some without

    def _authorization(self) -> dict[str, str]:
        return {"anthropic-version": _VERSION, **({"x-api-key": self._key} if self._key else {})}

    def _listener(self, emit: Emit | None) -> Listener:
        return _Blocks(self._name, emit)

    def _negotiable(self, fault: Fault) -> str | None:
        # Newer models take no temperature, and thinking ones only 1; the error names it in its text alone.
        return "temperature" if fault.code == "invalid_request_error" and "temperature" in fault.message else None

    def _payload(self, request: ModelRequest, listener: Listener) -> dict[str, Any]:
        options = {**self._options, **request.options}
        payload: dict[str, Any] = {"max_tokens": request.max_tokens or MAX_TOKENS, "temperature": request.temperature}
        if "temperature" in self._refused:
            del payload["temperature"]
        if request.output_schema is not None:
            wanted = {"type": "json_schema", "schema": closed_schema(request.output_schema)}
            payload["output_config"] = {**(options.pop("output_config", None) or {}), "format": wanted}
        payload |= options
        payload["model"] = self._wire_name
        system = "\n\n".join(message.text for message in request.messages if message.role is Role.SYSTEM and message.text)
        if system:
            payload["system"] = system
        payload["messages"] = _messages(request.messages, self._name.partition(":")[0])
        if isinstance(listener, _Blocks) and listener.paused_blocks:
            payload["messages"].append({"role": "assistant", "content": listener.paused_blocks})
        if request.tools:
            payload["tools"] = [
                {"name": safe_name(tool.name), "description": tool.description, "input_schema": tool.input_schema}
                for tool in request.tools
            ]
            if request.tool_choice != "auto":
                payload["tool_choice"] = _choice(request.tool_choice)
        if listener.watched:
            payload["stream"] = True
        return payload


def _choice(choice: str) -> dict[str, str]:
    named = {"required": {"type": "any"}, "none": {"type": "none"}}
    return named.get(choice) or {"type": "tool", "name": safe_name(choice)}


def _messages(messages: tuple[Message, ...], provider: str) -> list[dict[str, Any]]:
    """The conversation without its system messages. All results of one turn stand in one message, as the API demands."""
    sent: list[dict[str, Any]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [_block(piece) for piece in in_order(message, provider) if not _is_blank(piece)]
        if message.role is Role.TOOL:
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.call_id or ""}
            blocks = [{**result, "content": blocks} if blocks else result]
        if not blocks:
            continue  # the API refuses a message that says nothing
        if sent and sent[-1]["role"] == role:
            sent[-1]["content"] += blocks
        else:
            sent.append({"role": role, "content": blocks})
    return sent


def _is_blank(piece: Any) -> bool:
    """True for text of white space alone, which the API refuses."""
    return not isinstance(piece, Image | Opaque | ToolCall) and not piece.text.strip()


def _block(piece: Any) -> dict[str, Any]:
    match piece:
        case ToolCall():
            return {"type": "tool_use", "id": piece.id, "name": safe_name(piece.name), "input": piece.args}
        case Opaque():
            return piece.item
        case Image(url=""):
            return {"type": "image", "source": {"type": "base64", "media_type": piece.media_type, "data": piece.data}}
        case Image():
            return {"type": "image", "source": {"type": "url", "url": public_url(piece.url)}}
        case _:
            return {"type": "text", "text": piece.text}


# The field of a block that a piece belongs to, and the block it implies where a server never said that one began.
_FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
_IMPLIED = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}


@dataclass(slots=True)
class _Block:
    """A block of content while it arrives: as it began, and the pieces that were added by the field they belong to."""

    raw: dict[str, Any]
    place: int
    call: int | None = None
    added: dict[str, list[str]] = field(default_factory=dict)

    def whole(self) -> dict[str, Any]:
        raw = dict(self.raw)
        for key, pieces in self.added.items():
            if key == "partial_json":
                raw["input"] = _arguments("".join(pieces))
            else:
                raw[key] = str(raw.get(key) or "") + "".join(pieces)
        return raw


class _Blocks(Listener):
    """A message of content blocks. What is neither text nor one of our calls is kept, since the API wants it back.

    Attributes:
        paused_blocks: The content so far of a reply that paused.
    """

    finishes = _FINISHES

    def __init__(self, model: str, emit: Emit | None) -> None:
        super().__init__(model, emit)
        self.paused_blocks: list[dict[str, Any]] = []
        self._open: dict[int, _Block] = {}
        self._earlier = 0  # blocks before a pause: those after it count from 0 again
        self._done: list[dict[str, Any]] = []
        self._reported: dict[str, Any] = {}
        self._before = Counts(prompt=0, completion=0)
        self._pauses = 0

    async def add(self, piece: Mapping[str, Any]) -> None:
        match piece.get("type"):
            case "content_block_start":
                await self._begin(piece.get("index"), _object(piece.get("content_block")))
            case "content_block_delta":
                await self._continue(piece.get("index"), _object(piece.get("delta")))
            case "content_block_stop":
                await self._finish(piece.get("index"))
            case "message_start":
                self._report(_object(piece.get("message")).get("usage"))
            case "message_delta":
                self._report(piece.get("usage"))
                await self._stop(_object(piece.get("delta")).get("stop_reason"))
            case "message_stop":
                self.ended = True
            case "message":
                content = piece.get("content")
                for index, block in enumerate(content if isinstance(content, list) else ()):
                    await self._begin(index, _object(block))
                    await self._finish(index)
                self._report(piece.get("usage"))
                await self._stop(piece.get("stop_reason"))

    async def _begin(self, index: Any, raw: dict[str, Any]) -> _Block:
        block = self._open[_index(index)] = _Block(raw, self.place())
        match raw.get("type"):
            case "text":
                await self.say("text", raw.get("text"))
            case "thinking":
                await self.say("reasoning", raw.get("thinking"))
            case "tool_use":
                block.call = self._earlier + _index(index)
                await self.call(index=block.call, id=raw.get("id"), name=raw.get("name"))
        return block

    async def _continue(self, index: Any, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        key = _FIELDS.get(kind) if isinstance(kind, str) else None
        if key is None or not isinstance(piece := delta.get(key), str):
            return
        block = self._open.get(_index(index))
        if block is None:
            block = await self._begin(index, {"type": _IMPLIED[str(kind)]})
        block.added.setdefault(key, []).append(piece)
        if key == "text":
            await self.say("text", piece)
        elif key == "thinking":
            await self.say("reasoning", piece)
        elif key == "partial_json" and block.call is not None:
            await self.call(index=block.call, arguments=piece)

    async def _finish(self, index: Any) -> None:
        block = self._open.pop(_index(index), None)
        if block is None:
            return
        whole = block.whole()
        self._done.append(whole)
        match whole.get("type"):
            case "tool_use" if "partial_json" not in block.added:
                await self.call(index=block.call, arguments=whole.get("input") or None)
            case "text" | "tool_use":
                pass
            case "thinking" if not whole.get("signature"):
                pass  # it was cut, and the API refuses thinking it did not sign
            case _:
                self.keep(whole, block.place)

    async def _stop(self, reason: Any) -> None:
        if not isinstance(reason, str):
            return
        for index in list(self._open):
            await self._finish(index)
        self.finish = reason
        self.paused = reason == "pause_turn"

    def _report(self, usage: Any) -> None:
        # What is said later is the sum so far, not an addition.
        self._reported |= {key: value for key, value in _object(usage).items() if value is not None}

    def counts(self) -> Counts | None:
        if not self._reported:
            return None if not self._pauses else self._before
        fresh = count(self._reported.get("input_tokens"))
        cached = count(self._reported.get("cache_read_input_tokens")) or 0
        written = count(self._reported.get("cache_creation_input_tokens")) or 0
        completion = count(self._reported.get("output_tokens"))
        before = self._before
        return Counts(
            prompt=None if fresh is None else (before.prompt or 0) + fresh + cached + written,
            completion=None if completion is None else (before.completion or 0) + completion,
            cached=before.cached + cached,
            cache_write=before.cache_write + written,
            reasoning=before.reasoning
            + (count(_object(self._reported.get("output_tokens_details")).get("thinking_tokens")) or 0),
        )

    def resume(self) -> None:
        self._pauses += 1
        if self._pauses > _MAX_PAUSES:
            raise ModelInvalid(f"{self._model} paused more than {_MAX_PAUSES} times and did not come to an end")
        self._before = self.counts() or self._before
        self.paused_blocks += self._done
        self._earlier += len(self._done)
        self._done, self._reported = [], {}
        self.finish, self.ended, self.paused = None, False, False


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _arguments(text: str) -> Any:
    try:
        return decode(text) if text.strip() else {}
    except ValueError:
        return {}


def _index(value: Any) -> int:
    return value if isinstance(value, int) else 0
