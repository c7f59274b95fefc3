"""Models behind OpenAI's ``/responses``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.core.messages import Image, Message, Opaque, Role, ToolCall
from quarterdeck.models.base import Emit, ModelRequest
from quarterdeck.models.exchange import WireModel
from quarterdeck.models.listener import Counts, Finish, Listener, count, safe_name
from quarterdeck.models.parts import image_url, in_order
from quarterdeck.models.wire import Fault, encode, negotiable, read_fault

__all__ = ["ResponsesModel"]

_NEGOTIABLE = frozenset({"temperature", "max_output_tokens", "include"})
_BAD_REQUESTS = (
    "invalid_prompt",
    "data_residency_mismatch",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "invalid_image_mode",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_file_too_large",
    "image_file_not_found",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
)
_STATUSES: Mapping[str, int] = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "vector_store_timeout": 504,
    **dict.fromkeys(_BAD_REQUESTS, 400),
}
_FINISHES: Mapping[str, Finish] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "incomplete": "length",
    "content_filter": "content_filter",
}


class ResponsesModel(WireModel):
    """Speaks the responses API without leaving anything stored there: encrypted reasoning is carried back instead."""

    path = "/responses"
    statuses = _STATUSES

    def _listener(self, emit: Emit | None) -> Listener:
        return _Items(self._name, emit)

    def _negotiable(self, fault: Fault) -> str | None:
        return negotiable(fault, _NEGOTIABLE)

    def _fault(self, decoded: Mapping[str, Any]) -> Fault | None:
        if decoded.get("type") == "error" and not isinstance(decoded.get("error"), dict):
            return read_fault({**decoded, "type": ""}, self._key)
        within = decoded.get("response")
        told = within if isinstance(within, dict) else decoded
        if told.get("error"):
            return read_fault(told, self._key)
        return Fault(message="the response failed", code="server_error") if told.get("status") == "failed" else None

    def _payload(self, request: ModelRequest, listener: Listener) -> dict[str, Any]:
        options = {**self._options, **request.options}
        payload: dict[str, Any] = {
            "temperature": request.temperature,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
        if request.max_tokens is not None:
            payload["max_output_tokens"] = request.max_tokens
        for refused in self._refused:
            payload.pop(refused, None)
        if request.output_schema is not None:
            wanted = {"type": "json_schema", "name": "answer", "schema": request.output_schema}
            payload["text"] = {**(options.pop("text", None) or {}), "format": wanted}
        payload |= options
        payload["model"] = self._wire_name
        instructions = "\n\n".join(said.text for said in request.messages if said.role is Role.SYSTEM and said.text)
        if instructions:
            payload["instructions"] = instructions
        provider = self._name.partition(":")[0]
        payload["input"] = [item for message in request.messages for item in _items(message, provider)]
        if request.tools:
            payload["tools"] = [
                {
                    "type": "function",
                    "name": safe_name(tool.name),
                    "description": tool.description,
                    "parameters": tool.input_schema,
                    "strict": False,  # this API's default would refuse schemas with optional properties
                }
                for tool in request.tools
            ]
            if request.tool_choice != "auto":
                payload["tool_choice"] = _choice(request.tool_choice)
        if listener.watched:
            payload["stream"] = True
        return payload


def _choice(choice: str) -> Any:
    return choice if choice in ("none", "required") else {"type": "function", "name": safe_name(choice)}


def _items(message: Message, provider: str) -> list[dict[str, Any]]:
    """A message as input items; a system message is none, as it goes with the instructions."""
    match message.role:
        case Role.SYSTEM:
            return []
        case Role.TOOL:
            return [{"type": "function_call_output", "call_id": message.call_id or "", "output": _content(message)}]
        case Role.USER:
            return [{"role": "user", "content": _content(message)}]
    pieces = in_order(message, provider)
    # Reasoning is refused without the item that it led to.
    while pieces and isinstance(pieces[-1], Opaque):
        pieces.pop()
    return [_item(piece) for piece in pieces]


def _item(piece: Any) -> dict[str, Any]:
    match piece:
        case ToolCall():
            arguments = encode(piece.args).decode()
            return {"type": "function_call", "call_id": piece.id, "name": safe_name(piece.name), "arguments": arguments}
        case Opaque():
            return piece.item
        case _:
            return {"role": "assistant", "content": piece.text}


def _content(message: Message) -> Any:
    if not any(isinstance(part, Image) for part in message.parts):
        return message.text
    return [
        {"type": "input_image", "image_url": image_url(part)}
        if isinstance(part, Image)
        else {"type": "input_text", "text": part.text}
        for part in message.parts
        if isinstance(part, Image) or part.text
    ]


class _Items(Listener):
    """A response of output items."""

    finishes = _FINISHES

    def __init__(self, model: str, emit: Emit | None) -> None:
        super().__init__(model, emit)
        self._heard: set[tuple[str, Any]] = set()  # what came in pieces already, by kind and place of its item
        self._usage_said: Any = None

    async def add(self, piece: Mapping[str, Any]) -> None:
        kind = piece.get("type")
        place = piece.get("output_index")
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                await self._piece("text", place, piece.get("delta"))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                await self._piece("reasoning", place, piece.get("delta"))
            case "response.output_item.added":
                await self._open(place, _object(piece.get("item")))
            case "response.function_call_arguments.delta":
                self._heard.add(("arguments", place))
                await self.call(index=_index(place), arguments=piece.get("delta"))
            case "response.output_item.done":
                await self._close(place, _object(piece.get("item")))
            case "response.completed" | "response.incomplete" | "response.done":
                await self._end(_object(piece.get("response")))
            case _ if isinstance(piece.get("output"), list):
                await self._end(piece)

    async def _piece(self, kind: Any, place: Any, text: Any) -> None:
        self._heard.add((kind, place))
        await self.say(kind, text)

    async def _open(self, place: Any, item: dict[str, Any]) -> None:
        if item.get("type") == "function_call":
            self._heard.add(("call", place))
            await self.call(index=_index(place), id=item.get("call_id"), name=item.get("name"))

    async def _close(self, place: Any, item: dict[str, Any]) -> None:
        """Take in a finished item: only what of it was not heard in pieces."""
        if ("item", place) in self._heard:
            return
        self._heard.add(("item", place))
        match item.get("type"):
            case "message":
                if ("text", place) not in self._heard:
                    for part in _list(item.get("content")):
                        await self.say("text", _object(part).get("text", _object(part).get("refusal")))
            case "function_call":
                if ("call", place) not in self._heard:
                    await self._open(place, item)
                if ("arguments", place) not in self._heard:
                    await self.call(index=_index(place), arguments=item.get("arguments"))
            case "reasoning":
                if ("reasoning", place) not in self._heard:
                    for part in (*_list(item.get("summary")), *_list(item.get("content"))):
                        await self.say("reasoning", _object(part).get("text"))
                if item.get("encrypted_content"):  # without it, the API looks for an item that it did not store
                    self.keep(_sendable(item), self.place())

    async def _end(self, response: Mapping[str, Any]) -> None:
        for place, item in enumerate(_list(response.get("output"))):
            await self._close(place, _object(item))
        self._usage_said = response.get("usage")
        status = response.get("status")
        reason = _object(response.get("incomplete_details")).get("reason")
        if status == "incomplete":
            self.finish = reason if reason in self.finishes else "incomplete"
        else:
            self.finish = "completed"
        self.ended = True

    def counts(self) -> Counts | None:
        if not isinstance(self._usage_said, dict):
            return None
        read, written = _object(self._usage_said.get("input_tokens_details")), self._usage_said.get("output_tokens_details")
        return Counts(
            prompt=count(self._usage_said.get("input_tokens")),
            completion=count(self._usage_said.get("output_tokens")),
            cached=count(read.get("cached_tokens")) or 0,
            cache_write=count(read.get("cache_write_tokens")) or 0,
            reasoning=count(_object(written).get("reasoning_tokens")) or 0,
        )


def _sendable(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it may be sent: without what is null, and without its status, which only the API may say."""
    return {key: value for key, value in item.items() if value is not None and key != "status"}


def _index(place: Any) -> int | None:
    return place if isinstance(place, int) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
