"""How families of servers cut a reply into events. Written by hand, from how these servers are known to behave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.dialects import DIALECTS, Called, event

Shape = Callable[[Sequence[str], Sequence[Called]], Iterator[bytes]]

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
DONE = b"data: [DONE]\n\n"


def _chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def openai(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """Name and id first, arguments in pieces, usage in a chunk without choices, a random field against length attacks."""
    yield _chunk({"role": "assistant", "content": None if calls and not words else "", "refusal": None}, obfuscation="k3J")
    for word in words:
        yield _chunk({"content": word}, obfuscation="aa1")
    for index, call in enumerate(calls):
        head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield _chunk({"tool_calls": [head]})
        for piece in call.pieces:
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk({}, "tool_calls" if calls else "stop", usage=None)
    yield event({"id": "chatcmpl-1", "choices": [], "usage": USAGE})
    yield DONE


def azure(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """As OpenAI, after a first chunk without choices, and with filter results beside the text."""
    filters = {"hate": {"filtered": False, "severity": "safe"}, "self_harm": {"filtered": False, "severity": "safe"}}
    first = {"prompt_index": 0, "content_filter_results": {**filters, "jailbreak": {"filtered": False, "detected": False}}}
    yield event({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [first]})
    for data in openai(words, calls):
        yield data.replace(b'"finish_reason":', b'"content_filter_results": {}, "logprobs": null, "finish_reason":')


def vllm(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """Reasoning beside the text, the name in one piece, usage told with every chunk, an empty last delta."""
    yield _chunk({"role": "assistant", "content": ""}, usage={**USAGE, "completion_tokens": 0})
    yield _chunk({"reasoning_content": "They want "}, usage={**USAGE, "completion_tokens": 1})
    yield _chunk({"reasoning_content": "something."}, usage={**USAGE, "completion_tokens": 2})
    for word in words:
        yield _chunk({"content": word}, usage={**USAGE, "completion_tokens": 3})
    for index, call in enumerate(calls):
        head = {"id": f"chatcmpl-tool-{call.id}", "type": "function", "index": index, "function": {"name": call.name}}
        yield _chunk({"tool_calls": [head]})
        for piece in call.pieces:
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _chunk({"content": ""}, "tool_calls" if calls else "stop", stop_reason=None)
    yield event({"id": "chatcmpl-1", "choices": [], "usage": USAGE})
    yield DONE


def ollama(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """Each call whole in one chunk, none with an index; a finish reason of stop even after calls; usage at the end."""
    for word in words:
        yield _chunk({"role": "assistant", "content": word})
    for call in calls:
        whole = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        yield _chunk({"role": "assistant", "content": "", "tool_calls": [whole]})
    yield _chunk({"role": "assistant", "content": ""}, "stop")
    yield event({"choices": [], "usage": USAGE})
    yield DONE


def mistral(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """All calls whole in the last chunk, with usage and finish reason."""
    yield _chunk({"role": "assistant", "content": ""})
    for word in words:
        yield _chunk({"content": word})
    whole = [
        {"id": call.id, "index": index, "function": {"name": call.name, "arguments": call.arguments}}
        for index, call in enumerate(calls)
    ]
    if calls:
        yield _chunk({"content": "", "tool_calls": whole}, "tool_calls", usage=USAGE)
    else:
        yield _chunk({"content": ""}, "stop", usage=USAGE)
    yield DONE


def together(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """A role with every delta, text beside it a second time, usage in the last chunk."""
    for word in words:
        yield _chunk({"role": "assistant", "content": word, "token_id": 1}, usage=None)
    for index, call in enumerate(calls):
        for place, piece in enumerate(call.pieces or ("",)):
            head = {"id": call.id, "type": "function"} if not place else {}
            function = {"name": call.name, "arguments": piece} if not place else {"arguments": piece}
            yield _chunk(
                {"role": "assistant", "content": None, "tool_calls": [{"index": index, **head, "function": function}]}
            )
    yield _chunk({"role": "assistant", "content": ""}, "tool_calls" if calls else "eos", usage=USAGE)
    yield DONE


def anthropic(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """Blocks that open, grow and close, with pings between."""
    for data in DIALECTS["anthropic"].stream(words, calls, "tool_calls" if calls else "stop"):
        yield data
        yield event({"type": "ping"}, named=True)


def responses(words: Sequence[str], calls: Sequence[Called]) -> Iterator[bytes]:
    """Items that are added, grow, and are told once more when done, and a third time at the end."""
    return DIALECTS["responses"].stream(words, calls, "tool_calls" if calls else "stop")


SHAPES: Mapping[str, Shape] = {
    each.__name__: each for each in (openai, azure, vllm, ollama, mistral, together, anthropic, responses)
}
