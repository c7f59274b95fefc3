"""Vectors for clients of OpenAI, by the embedder of the knowledge index."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Sequence

import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.usage import Usage
from quarterdeck.models.embeddings import Embedded
from quarterdeck.service.embeddings import Embeddings

from .conftest import KEYS, Served


class Lengths:
    """Vectors of two numbers: how long a text is, and one half."""

    id = "test:lengths"
    dim = 2
    languages = None

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        vectors = tuple(array("f", (float(len(text)), 0.5)) for text in texts)
        return Embedded(vectors=vectors, usage=Usage(prompt_tokens=3 * len(texts)))


@pytest.fixture
def embedding(served: Served) -> Served:
    served.app.state.embeddings = Embeddings(Lengths(), "test:lengths", timeout_s=5.0)
    return served


@pytest.mark.row("S8", part="openai embeddings")
async def test_texts_become_vectors_in_their_order(embedding: Served) -> None:
    reply = await embedding.send("POST", "/v1/embeddings", {"model": "lengths", "input": ["abc", "a"]})

    assert reply.status == 200
    assert [(row["index"], row["embedding"]) for row in reply.json["data"]] == [(0, [3.0, 0.5]), (1, [1.0, 0.5])]
    assert reply.json["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert reply.json["model"] == "test:lengths"


async def test_vector_may_be_sent_as_base64(embedding: Served) -> None:
    body = {"model": "test:lengths", "input": "abc", "encoding_format": "base64"}

    reply = await embedding.send("POST", "/v1/embeddings", body)

    assert array("f", base64.b64decode(reply.json["data"][0]["embedding"])).tolist() == [3.0, 0.5]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "other", "input": "a"}, 404, "model_not_found"),
        ({"model": "lengths", "input": ""}, 400, "invalid_value"),
        ({"model": "lengths", "input": []}, 400, "invalid_value"),
        ({"model": "lengths", "input": [1, 2]}, 400, "invalid_value"),
        ({"model": "lengths", "input": ["a"] * 2049}, 400, "invalid_value"),
        ({"model": "lengths", "input": "a", "dimensions": 3}, 400, "unsupported_parameter"),
        ({"model": "lengths", "input": "a", "encoding_format": "int8"}, 400, "invalid_value"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_what_has_no_vector_is_refused_in_the_shape_of_openai(
    embedding: Served, body: dict[str, object], status: int, code: str
) -> None:
    reply = await embedding.send("POST", "/v1/embeddings", body)

    assert (reply.status, reply.code) == (status, code)


async def test_server_without_an_embedder_says_so(served: Served) -> None:
    reply = await served.send("POST", "/v1/embeddings", {"model": "lengths", "input": "a"})

    assert (reply.status, reply.code) == (404, "model_not_found")
    assert "knowledge.embedder" in reply.json["error"]["message"]


async def test_embeddings_take_the_right_to_ask(embedding: Served) -> None:
    reply = await embedding.send("POST", "/v1/embeddings", {"model": "lengths", "input": "a"}, key=KEYS["omar"])

    assert (reply.status, reply.code) == (403, "forbidden")


async def test_wrong_method_is_told_with_all_that_the_address_knows(served: Served) -> None:
    ours = await served.send("PUT", "/api/v1/session/")
    theirs = await served.send("GET", "/v1/responses")

    assert (ours.status, ours.headers["allow"]) == (405, "GET, HEAD, POST")
    assert (theirs.status, theirs.code) == (405, "method_not_allowed")
    assert theirs.headers["allow"] == "POST"
    assert "POST is" in theirs.json["error"]["message"]
