"""Models behind an OpenAI-compatible ``/chat/completions``: OpenAI, Azure, vLLM, Ollama, DeepSeek and most others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.core.messages import Image, Message, Role
from quarterdeck.models.base import Emit, ModelRequest
from quarterdeck.models.exchange import WireModel
from quarterdeck.models.listener import Counts, Finish, Listener, count, safe_name
from quarterdeck.models.parts import image_url, noted_text
from quarterdeck.models.wire import Fault, encode, negotiable

__all__ = ["OpenAIModel"]

_NEGOTIABLE = frozenset({"temperature", "max_tokens"})
_FINISHES: Mapping[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "content_filter"}


class OpenAIModel(WireModel):
    """Speaks chat completions. Newer models take no temperature and another name for ``max_tokens``."""

    path = "/chat/completions"

    def _listener(self, emit: Emit | None) -> Listener:
        return _Choice(self._name, emit)

    def _negotiable(self, fault: Fault) -> str | None:
        return negotiable(fault, _NEGOTIABLE)

    def _payload(self, request: ModelRequest, listener: Listener) -> dict[str, Any]:
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
                    "function": {
                        "name": safe_name(tool.name),
                        "description": tool.description,
                        "parameters": tool.input_schema,
                    },
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
        if listener.watched:
            payload |= {"stream": True, "stream_options": {"include_usage": True}}
        return payload


def _choice(choice: str) -> Any:
    return choice if choice in ("none", "required") else {"type": "function", "function": {"name": safe_name(choice)}}


def _message(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.call_id or "", "content": noted_text(message)}
    if not message.tool_calls:
        return {"role": str(message.role), "content": _content(message)}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": safe_name(call.name), "arguments": encode(call.args).decode()},
        }
        for call in message.tool_calls
    ]
    return {"role": "assistant", "content": message.text or None, "tool_calls": calls}


def _content(message: Message) -> Any:
    """The text, or a list of texts and pictures; only people's messages may hold pictures in this dialect."""
    if message.role is not Role.USER or not any(isinstance(part, Image) for part in message.parts):
        return noted_text(message)
    return [
        {"type": "image_url", "image_url": {"url": image_url(part)}}
        if isinstance(part, Image)
        else {"type": "text", "text": part.text}
        for part in message.parts
        if isinstance(part, Image) or part.text
    ]


class _Choice(Listener):
    """The first choice of a completion, or of its chunks."""

    finishes = _FINISHES

    def __init__(self, model: str, emit: Emit | None) -> None:
        super().__init__(model, emit)
        self._usage_said: dict[str, Any] | None = None

    async def add(self, piece: Mapping[str, Any]) -> None:
        if isinstance(usage := piece.get("usage"), dict):
            self._usage_said = usage
        for choice in _list(piece.get("choices")):
            if isinstance(choice, dict) and not choice.get("index"):
                await self._add_choice(choice)

    async def _add_choice(self, choice: Mapping[str, Any]) -> None:
        whole = choice.get("message")
        said = whole if isinstance(whole, dict) else choice.get("delta")
        if isinstance(said, dict):
            await self.say("reasoning", said.get("reasoning_content") or said.get("reasoning"))
            content = said.get("content")
            if isinstance(content, list):
                content = "".join(part["text"] for part in content if isinstance(part, dict) and _is_text(part.get("text")))
            await self.say("text", said.get("refusal") if content is None else content)
            for place, fragment in enumerate(_list(said.get("tool_calls"))):
                if isinstance(fragment, dict):
                    # In a whole message the place is the index, so that equal ids stay two calls.
                    await self.add_fragment({**fragment, "index": place} if whole is said else fragment)
        if _is_text(finish := choice.get("finish_reason")):
            self.finish = finish

    def counts(self) -> Counts | None:
        said = self._usage_said
        if said is None:
            return None
        return Counts(
            prompt=count(said.get("prompt_tokens")),
            completion=count(said.get("completion_tokens")),
            cached=_detail(said, "prompt_tokens_details", "cached_tokens"),
            cache_write=_detail(said, "prompt_tokens_details", "cache_write_tokens"),
            reasoning=_detail(said, "completion_tokens_details", "reasoning_tokens"),
        )


def _detail(usage: Mapping[str, Any], group: str, key: str) -> int:
    details = usage.get(group)
    return (count(details.get(key)) or 0) if isinstance(details, dict) else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
