"""What a request's prompt comes to before a provider has counted it."""

from __future__ import annotations

from quarterdeck.models.base import ModelRequest
from quarterdeck.models.tokens import count_tokens, part_tokens
from quarterdeck.models.wire import encode

__all__ = ["prompt_tokens"]

_AROUND_MESSAGE = 4  # what providers put around each


def prompt_tokens(request: ModelRequest) -> int:
    """How many tokens the prompt of `request` is, about: its messages with pictures and calls, and its tools."""
    tokens = 0
    for message in request.messages:
        tokens += _AROUND_MESSAGE + sum(map(part_tokens, message.parts))
        for call in message.tool_calls:
            tokens += count_tokens(call.name) + count_tokens(encode(call.args).decode())
    for tool in request.tools:
        tokens += count_tokens(tool.description) + count_tokens(encode(tool.input_schema).decode())
    return tokens
