"""An endpoint for vectors that answers with something that is none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from quarterdeck.core.events import RetryRequested, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.knowledge.search import Searcher
from quarterdeck.models.embeddings import OpenAIEmbedder
from quarterdeck.models.retry import Constant, Retrying
from quarterdeck.net import GuardedClient
from quarterdeck.service.orders import Upload
from quarterdeck.store.base import Entry
from tests.provider import Provider, context

from .intake import ANN, ASKED, Intake, intake_at

DIM = 3
Vectors = list[list[Any]]
NONSENSE: dict[str, Callable[[int], Vectors]] = {
    "one too few": lambda count: [[1.0, 0.0, 0.0]] * (count - 1),
    "one too many": lambda count: [[1.0, 0.0, 0.0]] * (count + 1),
    "of another length": lambda count: [[1.0, 0.0]] * count,
    "not a number": lambda count: [[1.0, float("nan"), 0.0]] * count,
    "infinite": lambda count: [[1.0, float("inf"), 0.0]] * count,
    "all zero": lambda count: [[0.0, 0.0, 0.0]] * count,
}


def answers(made: Callable[[int], Vectors]) -> Callable[[web.Request], Any]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())["input"]
        return web.json_response({"data": [{"index": i, "embedding": one} for i, one in enumerate(made(len(asked)))]})

    return endpoint


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        provider.otherwise = answers(lambda count: [[1.0, 0.5, 0.0]] * count)
        yield provider


@pytest.fixture
async def embedder(provider: Provider) -> AsyncIterator[OpenAIEmbedder]:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        yield OpenAIEmbedder(
            "openai:vectors",
            dim=DIM,
            base_url=provider.base_url,
            api_key="sk-test-0123456789",
            client=client,
            encoding="float",
            wrap=lambda model: Retrying(model, backoff=Constant(base_s=0.0)),
        )


@pytest.fixture
async def intake(tmp_path: Path, embedder: OpenAIEmbedder) -> AsyncIterator[Intake]:
    async with intake_at(tmp_path, embedder=embedder) as opened:
        yield opened


async def bring(intake: Intake, text: str, name: str) -> str:
    begun = await intake.documents.upload(ANN, Upload(name=name, data=text.encode()), ["it"], ASKED)
    await intake.ingestion.advance("acme", begun.run_id)
    return begun.run_id


@pytest.mark.row("K3", part="nonsense")
@pytest.mark.parametrize("kind", NONSENSE)
async def test_a_run_fails_by_name_words_still_find_and_it_can_be_told_to_go_on(
    intake: Intake, provider: Provider, embedder: OpenAIEmbedder, kind: str
) -> None:
    await bring(intake, "alpha before", "before.md")
    good, before = provider.otherwise, len(provider.requests)
    provider.otherwise = answers(NONSENSE[kind])

    run_id = await bring(intake, "omega after", "after.md")
    failed = (await intake.events(run_id))[-1]
    asked = len(provider.requests) - before
    found = await Searcher(intake.index, embedder=embedder).find("alpha", replace(context(), principal=ANN), 5)
    provider.otherwise = good
    assert await intake.store.journal.post("acme", run_id, Entry(event=RetryRequested(by="user:ann")))
    await intake.ingestion.advance("acme", run_id)

    assert isinstance(failed, RunFailed)
    assert (failed.code, asked) == ("upstream_invalid", 2)
    assert "openai:vectors" in failed.error
    assert [passage.text for passage in found.passages] == ["alpha before"]
    assert found.notes
    assert await intake.status(run_id) is RunStatus.DONE
    assert len(await intake.found("omega", "it")) == 1
