"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quarterdeck.devtools.simulator.checks import check_number, known_only, missing, one_of, typed
from quarterdeck.devtools.simulator.exchange import Answer, Incoming, whole
from quarterdeck.devtools.simulator.hashing import embed
from quarterdeck.devtools.simulator.refusals import Refusal
from quarterdeck.models.tokens import count_tokens

__all__ = ["embeddings"]

_PARAMETERS = frozenset("input model dimensions encoding_format user".split())
_DIMENSIONS: Mapping[str, int] = MappingProxyType({"text-embedding-3-large": 3072})
_DEFAULT_DIMENSIONS = 1536
_MAX_INPUTS, _MAX_TOKENS = 2048, 8192


def embeddings(incoming: Incoming) -> Answer:
    """Vectors of the inputs, in their order; base64 when asked for, as the official clients do."""
    body = incoming.object("openai")
    known_only(body, _PARAMETERS)
    model = typed(body.get("model") or incoming.deployment or _missing("model"), str, "model")
    texts = _texts(body)
    check_number(body, "dimensions", 1, 4096, kind=int)
    form = one_of(body.get("encoding_format", "float"), ("float", "base64"), "encoding_format")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    data = []
    for index, text in enumerate(texts):
        vector = embed(text, dimensions)
        if form == "base64":
            if sys.byteorder == "big":
                vector.byteswap()
            value: Any = base64.b64encode(vector.tobytes()).decode()
        else:
            value = vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(map(count_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return whole({"object": "list", "data": data, "model": model, "usage": usage})


def _missing(name: str) -> str:
    raise missing(name)


def _texts(body: Mapping[str, Any]) -> list[str]:
    """The inputs: one text or many; token ids stand for themselves."""
    if "input" not in body:
        raise missing("input")
    given = body["input"]
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list):
        raise Refusal(400, "'$.input' is invalid. Please check the API reference: the input is no text.", param="input")
    if not given or len(given) > _MAX_INPUTS:
        raise Refusal(400, f"Invalid 'input': expected an array of 1 to {_MAX_INPUTS} items.", param="input")
    texts = []
    for index, item in enumerate(given):
        text = " ".join(map(str, item)) if isinstance(item, list) else typed(item, str, f"input[{index}]")
        if not text:
            raise Refusal(400, f"Invalid 'input[{index}]': input cannot be an empty string.", param="input")
        if (tokens := count_tokens(text)) > _MAX_TOKENS:
            message = (
                f"This model's maximum context length is {_MAX_TOKENS} tokens, however you requested {tokens} tokens. "
                "Please reduce your prompt."
            )
            raise Refusal(400, message)
        texts.append(text)
    return texts
