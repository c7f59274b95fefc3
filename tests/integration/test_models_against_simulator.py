"""Every dialect against the simulated provider, which checks requests as strictly as the real ones do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quarterdeck.core.errors import ModelRefused
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Message, Role
from quarterdeck.devtools.simulator.server import Simulator
from quarterdeck.models.anthropic import AnthropicModel
from quarterdeck.models.base import Model, ModelRequest
from quarterdeck.models.embeddings import OpenAIEmbedder
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.models.responses import ResponsesModel
from quarterdeck.models.structured import Structured
from quarterdeck.net import GuardedClient
from tests.provider import WEATHER, context, question, said

KEY = "sk-simulated-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
KINDS: dict[str, Any] = {"openai": OpenAIModel, "openai-responses": ResponsesModel, "anthropic": AnthropicModel}


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    async with Simulator() as simulator:
        yield simulator.url


@pytest.fixture
async def client(origin: str) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allowed_origins=[origin]) as client:
        yield client


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, origin: str, client: GuardedClient) -> Model:
    made: Model = KINDS[request.param](f"{request.param}:simulated", base_url=f"{origin}/v1", api_key=KEY, client=client)
    return made


@pytest.mark.row("R1", part="simulator")
@pytest.mark.parametrize("watched", [False, True], ids=["whole", "streamed"])
async def test_a_tool_is_called_and_its_result_answered(model: Model, watched: bool) -> None:
    told: list[str] = []

    async def keep(delta: Delta) -> None:
        if delta.kind == "text":
            told.append(delta.text)

    emit = keep if watched else None
    asked = question("What is the weather in Oslo?", tools=(WEATHER,), tool_choice="required")

    called = await model.complete(asked, context(), emit)
    made = Message(role=Role.ASSISTANT, parts=said(Role.ASSISTANT, called.text).parts, tool_calls=called.tool_calls)
    results = tuple(
        Message(role=Role.TOOL, parts=said(Role.TOOL, "It rains in Oslo, 3 degrees.").parts, call_id=call.id)
        for call in called.tool_calls
    )
    told.clear()
    answer = await model.complete(
        ModelRequest(messages=(*asked.messages, made, *results), tools=(WEATHER,)), context(), emit
    )

    assert [call.name for call in called.tool_calls] == ["get_weather"]
    assert called.tool_calls[0].args == {"city": "Oslo"}
    assert "Oslo" in answer.text
    assert not answer.usage.estimated
    assert not watched or "".join(told) == answer.text


@pytest.mark.row("R1", part="simulator")
@pytest.mark.parametrize("mode", ["native", "tool"])
async def test_an_answer_satisfies_the_schema(model: Model, mode: str) -> None:
    able = model if mode == "native" else Structured(model, "tool")

    reply = await able.complete(question("It is 3 degrees in Oslo.", output_schema=SCHEMA), context())

    answer = json.loads(reply.text)
    assert isinstance(answer["city"], str)
    assert isinstance(answer["degrees"], int | float)


async def test_a_bad_request_is_refused_with_the_providers_words(model: Model) -> None:
    with pytest.raises(ModelRefused, match="temperature"):
        await model.complete(question(options={"temperature": "hot"}), context())


@pytest.mark.row("K3", part="simulator")
async def test_vectors_of_equal_texts_are_equal(origin: str, client: GuardedClient) -> None:
    embedder = OpenAIEmbedder(
        "openai:text-embedding-3-small", dim=256, shorten=True, base_url=f"{origin}/v1", api_key=KEY, client=client
    )

    embedded = await embedder.embed(["one", "two", "one"], context())

    first, other, again = embedded.vectors
    assert first == again != other
    assert not embedded.usage.estimated
