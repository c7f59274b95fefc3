"""What every embedder has in common, and how one over the wire meets a server that fails."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from quarterdeck.core.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    InvalidInput,
    ModelInvalid,
    ModelRefused,
    ModelUnavailable,
)
from quarterdeck.knowledge.embedders.e5 import E5Embedder
from quarterdeck.knowledge.embedders.minilm import MiniLMEmbedder
from quarterdeck.models.embeddings import Embedder, OpenAIEmbedder
from quarterdeck.models.meter import Metered
from quarterdeck.models.prices import Price, Prices
from quarterdeck.models.retry import Constant, Retrying
from quarterdeck.net import GuardedClient
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.store.memory import MemoryStore
from tests.provider import Provider, context, fails, responds, stalls
from tests.unit.knowledge.embedders.tiny import write_model
from tests.unit.knowledge.embedders.tiny_e5 import write_e5

DIM = 3
MakeEmbedder = Callable[..., OpenAIEmbedder]


def vector_of(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[0])), 0.5]


async def endpoint(request: web.Request) -> web.StreamResponse:
    """Vectors in the encoding asked for, last text first, as only their index counts."""
    asked = json.loads(await request.read())
    data = []
    for index, text in enumerate(asked["input"]):
        vector: Any = vector_of(text)
        if asked["encoding_format"] == "base64":
            vector = base64.b64encode(struct.pack(f"<{DIM}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return web.json_response({"data": data[::-1], "usage": {"prompt_tokens": 2 * len(data), "total_tokens": 2 * len(data)}})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        provider.otherwise = endpoint
        yield provider


@pytest.fixture
async def make(provider: Provider) -> AsyncIterator[MakeEmbedder]:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:

        def make(**options: Any) -> OpenAIEmbedder:
            given = {"dim": DIM, "base_url": provider.base_url, "api_key": "sk-test-0123456789", "client": client, **options}
            return OpenAIEmbedder("openai:vectors", **given)

        yield make


@pytest.fixture(params=["base64", "e5", "float", "minilm"])
async def embedder(make: MakeEmbedder, request: pytest.FixtureRequest, tmp_path: Path) -> Embedder:
    if request.param == "e5":
        return await E5Embedder.open(tmp_path / "data", weights=tmp_path, release=write_e5(tmp_path))
    if request.param == "minilm":
        return await MiniLMEmbedder.open(tmp_path / "data", weights=tmp_path, release=write_model(tmp_path))
    return make(encoding=request.param)


@pytest.mark.row("K3", part="e5")
@pytest.mark.row("K3", part="endpoint")
@pytest.mark.row("K3", part="minilm")
async def test_every_text_gets_its_vector_in_order(embedder: Embedder) -> None:
    texts = ["a", "ship", "世界", "the crew sleeps at night"]

    embedded = await embedder.embed(texts, context())

    alone = [(await embedder.embed([text], context())).vectors[0] for text in texts]
    assert [list(vector) for vector in embedded.vectors] == [pytest.approx(list(vector), abs=1e-5) for vector in alone]
    assert len({tuple(vector) for vector in embedded.vectors}) == len(texts)
    assert all(len(vector) == embedder.dim for vector in embedded.vectors)


@pytest.mark.row("K3", part="endpoint")
@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_the_numbers_and_the_usage_are_those_that_were_sent(make: MakeEmbedder, encoding: str) -> None:
    texts = ["a", "bb", "世界", "dddd"]

    embedded = await make(encoding=encoding).embed(texts, context())

    assert [list(vector) for vector in embedded.vectors] == [vector_of(text) for text in texts]
    assert (embedded.usage.prompt_tokens, embedded.usage.completion_tokens, embedded.usage.estimated) == (8, 0, False)


async def test_no_texts_give_no_vectors_and_cost_nothing(embedder: Embedder, provider: Provider) -> None:
    embedded = await embedder.embed([], context())

    assert embedded.vectors == ()
    assert provider.requests == []


async def test_an_empty_text_is_refused(embedder: Embedder) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await embedder.embed(["a", ""], context())


async def test_after_the_deadline_nothing_is_asked(embedder: Embedder, provider: Provider) -> None:
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(["a"], context(within_s=-1.0))

    assert provider.requests == []


@pytest.mark.row("K3", part="endpoint")
async def test_many_texts_go_in_batches_by_number_and_by_size(make: MakeEmbedder, provider: Provider) -> None:
    texts = ["a", "b", "c", "word " * 120, "word " * 120, "d"]

    embedded = await make(batch_size=2, batch_tokens=100).embed(texts, context())

    assert sorted(len(sent["input"]) for sent in provider.requests) == [1, 1, 1, 1, 2]
    assert [list(vector) for vector in embedded.vectors] == [vector_of(text) for text in texts]
    assert embedded.usage.prompt_tokens == 12


@pytest.mark.row("K3", part="endpoint")
async def test_batches_are_asked_for_at_once_up_to_a_bound(make: MakeEmbedder, provider: Provider) -> None:
    open_now = most = 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        return await endpoint(request)

    provider.otherwise = slow

    await make(batch_size=1, concurrency=3).embed(list("abcdefgh"), context())

    assert most == 3


@pytest.mark.row("K3", part="endpoint")
async def test_a_batch_is_repeated_and_priced_like_a_model_call(make: MakeEmbedder, provider: Provider) -> None:
    provider.script.append(fails(503))
    prices = Prices({"openai:vectors": Price(input_usd=1.0, output_usd=0.0)})
    embedder = make(wrap=lambda model: Retrying(Metered(model, prices), backoff=Constant(base_s=0.0)))

    embedded = await embedder.embed(["a"], context())

    assert len(embedded.vectors) == 1
    assert embedded.usage.cost_usd == pytest.approx(2e-6)
    assert len(provider.requests) == 2


async def test_batches_side_by_side_are_held_to_a_budget(make: MakeEmbedder, provider: Provider) -> None:
    prices = Prices({})
    budgets = Budgets(MemoryStore().records, prices, [BudgetLimit(scope="user", max_tokens=3)])
    embedder = make(batch_size=1, concurrency=8, wrap=lambda model: Metered(model, prices, budgets))

    with pytest.raises(BudgetExceeded):
        await embedder.embed(list("abcdefgh"), context())

    assert len(provider.requests) == 2  # of two tokens each


@pytest.mark.parametrize(("status", "kind"), [(429, ModelUnavailable), (500, ModelUnavailable), (401, ModelRefused)])
async def test_an_error_of_one_batch_is_that_of_the_call(
    make: MakeEmbedder, provider: Provider, status: int, kind: type[Exception]
) -> None:
    provider.script.append(fails(status, "no"))

    with pytest.raises(kind, match=f"answered {status}"):
        await make(batch_size=1).embed(["a", "b"], context())


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": "AAAA"}],
        [{"index": 0, "embedding": "?"}],
        [{"index": 0, "embedding": [1.0, "x", 2.0]}],
        [{"index": 0, "embedding": [1e999, 0, 0]}],
        [{"index": 1, "embedding": [1.0, 2.0, 3.0]}],
        [{"index": 0, "embedding": None}],
        ["vector"],
        [{"index": 0, "embedding": base64.b64encode(struct.pack("<3f", 1, float("nan"), 1)).decode()}],
    ],
    ids=str,
)
async def test_vectors_that_are_none_are_invalid(make: MakeEmbedder, provider: Provider, data: Any) -> None:
    provider.script.append(responds(200, json.dumps({"data": data}).replace("Infinity", "1e999")))

    with pytest.raises(ModelInvalid):
        await make().embed(["a"], context())


async def test_missing_usage_becomes_a_marked_estimate(make: MakeEmbedder, provider: Provider) -> None:
    provider.script.append(responds(200, json.dumps({"data": [{"embedding": [1, 2, 3]}]})))

    embedded = await make().embed(["some words here"], context())

    assert embedded.usage.estimated
    assert 0 < embedded.usage.prompt_tokens < 10


async def test_a_shorter_vector_is_asked_for_only_where_wanted(make: MakeEmbedder, provider: Provider) -> None:
    await make().embed(["a"], context())
    await make(shorten=True).embed(["a"], context())

    assert ["dimensions" in sent for sent in provider.requests] == [False, True]
    assert make().id == "openai:vectors/3"


async def test_cancelling_closes_all_connections(make: MakeEmbedder, provider: Provider) -> None:
    provider.otherwise = stalls(5.0)
    task = asyncio.ensure_future(make(batch_size=1).embed(["a", "b"], context()))
    async with asyncio.timeout(2):
        while len(provider.requests) < 2:
            await asyncio.sleep(0.005)
    cancelled_at = time.monotonic()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(2):
        while len(provider.hung_up_at) < 2:
            await asyncio.sleep(0.005)
    assert max(provider.hung_up_at) - cancelled_at < 0.25
