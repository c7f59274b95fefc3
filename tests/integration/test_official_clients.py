"""The providers' own Python clients against the simulator: what they expect is the oracle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from quarterdeck.core.errors import Misconfigured
from quarterdeck.devtools.simulator import Options, Script, Simulator, Step, Traced

pytest_plugins = ["quarterdeck.devtools.simulator.fixture"]
pytestmark = pytest.mark.row("D1", part="official clients")

HELLO: list[Any] = [{"role": "user", "content": "Hello."}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a city.", "parameters": PARAMETERS},
}
PLAY = """
steps:
  - when: {after: get_weather}
    answer: "It says: $result"
  - when: {message: weather}
    calls: [{tool: get_weather, arguments: {city: Paris}}, {tool: get_weather, arguments: {city: Rome}}]
  - when: {message: parse}
    structured: {day: Monday, guests: 3}
  - when: {message: refuse}
    refusal: I would rather not.
  - answer: Good day to you.
"""


class Dinner(BaseModel):
    day: str
    guests: int


@pytest.fixture(scope="module")
def openai() -> ModuleType:
    import openai  # one second of CPU: only where it is used

    return openai


@pytest.fixture(scope="module")
def anthropic() -> ModuleType:
    import anthropic

    return anthropic


@pytest.fixture
async def client(simulator: Traced, openai: ModuleType) -> AsyncIterator[Any]:
    simulator.play(PLAY)
    async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key="sk-test", max_retries=2) as opened:
        yield opened


@pytest.fixture
async def claude(simulator: Traced, anthropic: ModuleType) -> AsyncIterator[Any]:
    simulator.play(PLAY)
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="sk-test", max_retries=2) as opened:
        yield opened


async def test_openai_chat_and_stream(client: Any) -> None:
    whole = await client.chat.completions.create(model="gpt-5", messages=HELLO)
    async with client.chat.completions.stream(
        model="gpt-5", messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()

    assert whole.choices[0].message.content == "Good day to you."
    assert "".join(deltas) == final.choices[0].message.content == "Good day to you."
    assert final.usage == whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_openai_calls_tools_in_parallel_and_reads_their_results(client: Any) -> None:
    asked = [{"role": "user", "content": "The weather?"}]
    whole = await client.chat.completions.create(model="gpt-5", messages=asked, tools=[TOOL])
    async with client.chat.completions.stream(model="gpt-5", messages=asked, tools=[TOOL]) as stream:
        done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
        streamed = (await stream.get_final_completion()).choices[0]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in whole.choices[0].message.tool_calls]
    after = await client.chat.completions.create(
        model="gpt-5", tools=[TOOL], messages=[*asked, whole.choices[0].message.model_dump(exclude_none=True), *results]
    )

    assert [call.function.arguments for call in whole.choices[0].message.tool_calls] == [
        '{"city":"Paris"}',
        '{"city":"Rome"}',
    ]
    assert [event.arguments for event in done] == ['{"city":"Paris"}', '{"city":"Rome"}']
    assert streamed.finish_reason == whole.choices[0].finish_reason == "tool_calls"
    assert after.choices[0].message.content == "It says: sunny"


async def test_openai_parses_structured_output_and_sees_refusals(client: Any) -> None:
    asked = [{"role": "user", "content": "Please parse this."}]
    parsed = await client.chat.completions.parse(model="gpt-5", messages=asked, response_format=Dinner)
    other = await client.responses.parse(model="gpt-5", input="Please parse this.", text_format=Dinner)
    refused = await client.chat.completions.parse(
        model="gpt-5", messages=[{"role": "user", "content": "refuse"}], response_format=Dinner
    )

    assert parsed.choices[0].message.parsed == other.output_parsed == Dinner(day="Monday", guests=3)
    assert refused.choices[0].message.refusal == "I would rather not."
    assert refused.choices[0].message.parsed is None


async def test_openai_responses_and_their_stream(client: Any) -> None:
    tool = {"type": "function", "strict": True, **TOOL["function"]}  # type: ignore[dict-item]
    whole = await client.responses.create(model="gpt-5", input="Hello.")
    async with client.responses.stream(model="gpt-5", input="Hello.") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    calling = await client.responses.create(model="gpt-5", input="The weather?", tools=[tool])
    outputs = [{"type": "function_call_output", "call_id": item.call_id, "output": "sunny"} for item in calling.output]
    after = await client.responses.create(model="gpt-5", input=outputs, previous_response_id=calling.id, tools=[tool])

    assert whole.output_text == "".join(deltas) == final.output_text == "Good day to you."
    assert [item.name for item in calling.output] == ["get_weather", "get_weather"]
    assert after.output_text == "It says: sunny"


async def test_openai_embeddings_models_and_moderations(client: Any) -> None:
    vectors = await client.embeddings.create(model="text-embedding-3-large", input=["one", "two"])
    models = [model.id async for model in await client.models.list()]
    one = await client.models.retrieve("sim-loop")
    judged = await client.moderations.create(input="I will kill you.")

    assert [len(item.embedding) for item in vectors.data] == [3072, 3072]
    assert "sim-loop" in models
    assert one.id == "sim-loop"
    assert judged.results[0].categories.violence


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadRequestError"), (401, "AuthenticationError"), (403, "PermissionDeniedError"), (404, "NotFoundError"),
        (409, "ConflictError"), (422, "UnprocessableEntityError"), (429, "RateLimitError"), (500, "InternalServerError"),
        (503, "InternalServerError"), (529, "InternalServerError"),
    ],
)  # fmt: skip
async def test_errors_have_the_clients_own_types(
    simulator: Traced, openai: ModuleType, anthropic: ModuleType, client: Any, claude: Any, status: int, name: str
) -> None:
    simulator.fault("status", status=status, code="a_code")

    with pytest.raises(getattr(openai, name)) as caught:
        await client.with_options(max_retries=0).chat.completions.create(model="gpt-5", messages=HELLO)
    with pytest.raises(getattr(anthropic, name)) as other:
        await claude.with_options(max_retries=0).messages.create(model="claude-x", max_tokens=9, messages=HELLO)

    assert (caught.value.status_code, caught.value.code) == (status, "a_code")
    assert caught.value.request_id.startswith("req_")
    assert other.value.status_code == status
    assert other.value.body["type"] == "error"


async def test_refused_parameter_is_named_in_the_error(client: Any, openai: ModuleType) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-5", messages=HELLO, temperature=7)

    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")


async def test_clients_try_again_and_wait_as_they_are_told(simulator: Traced, client: Any, claude: Any) -> None:
    simulator.fault("429 times=1 retry_after_s=0.05")
    answered = await client.chat.completions.create(model="gpt-5", messages=HELLO)
    simulator.fault("529 times=1 retry_after_s=0.05")
    other = await claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO)

    first, second = simulator.requests(path="*/chat/completions")
    assert answered.choices[0].message.content == "Good day to you."
    assert (first.status, second.status, second.headers["x-stainless-retry-count"]) == (429, 200, "1")
    assert other.content[0].text == "Good day to you."
    assert [entry.status for entry in simulator.requests(path="*/messages")] == [529, 200]


async def test_clients_notice_a_cut_stream(
    simulator: Traced, client: Any, claude: Any, openai: ModuleType, anthropic: ModuleType
) -> None:
    simulator.fault("cut after_chunk=3")

    stream = await client.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)
    heard = [await anext(stream) for _ in range(3)]
    with pytest.raises(openai.APIConnectionError):
        await anext(stream)
    other = await claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO, stream=True)
    with pytest.raises(Exception, match=r"incomplete|closed|peer"):  # the transport's own, which anthropic passes on
        [event async for event in other]

    assert len(heard) == 3
    assert {entry.ended for entry in simulator.requests()} == {"cut"}


async def test_error_inside_a_stream_is_raised(
    simulator: Traced, client: Any, claude: Any, openai: ModuleType, anthropic: ModuleType
) -> None:
    simulator.fault("error_event after_chunk=3 message=no_more")

    with pytest.raises(openai.APIError, match="no_more"):
        [chunk async for chunk in await client.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)]
    with pytest.raises(anthropic.APIStatusError, match="no_more"):
        [e async for e in await claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO, stream=True)]


async def test_anthropic_messages_stream_and_count(claude: Any) -> None:
    whole = await claude.messages.create(model="claude-x", max_tokens=99, messages=HELLO)
    async with claude.messages.stream(model="claude-x", max_tokens=99, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    counted = await claude.messages.count_tokens(model="claude-x", messages=HELLO)

    assert whole.content[0].text == text == final.content[0].text == "Good day to you."
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert counted.input_tokens == whole.usage.input_tokens


async def test_anthropic_uses_tools_and_parses(claude: Any) -> None:
    tools = [{"name": "get_weather", "input_schema": PARAMETERS}]
    asked = [{"role": "user", "content": "The weather?"}]
    calling = await claude.messages.create(model="claude-x", max_tokens=99, messages=asked, tools=tools)
    async with claude.messages.stream(model="claude-x", max_tokens=99, messages=asked, tools=tools) as stream:
        streamed = await stream.get_final_message()
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"} for block in calling.content]
    after = await claude.messages.create(
        model="claude-x",
        max_tokens=99,
        tools=tools,
        messages=[*asked, {"role": "assistant", "content": calling.content}, {"role": "user", "content": results}],
    )
    parsed = await claude.messages.parse(
        model="claude-x", max_tokens=99, messages=[{"role": "user", "content": "parse"}], output_format=Dinner
    )

    assert [block.input for block in calling.content] == [{"city": "Paris"}, {"city": "Rome"}]
    assert [block.input for block in streamed.content] == [{"city": "Paris"}, {"city": "Rome"}]
    assert calling.stop_reason == "tool_use"
    assert after.content[0].text == "It says: sunny"
    assert parsed.parsed_output == Dinner(day="Monday", guests=3)


async def test_no_port_is_needed(openai: ModuleType) -> None:
    import httpx2

    simulator = Simulator(Options(scripts=[Script(steps=[Step(answer="No port.")])]))
    transport = httpx2.ASGITransport(app=simulator)
    async with openai.AsyncOpenAI(
        base_url="http://simulator/v1", api_key="k", http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        answered = await client.chat.completions.create(model="gpt-5", messages=HELLO)

    assert answered.choices[0].message.content == "No port."


async def test_azures_client_is_served(simulator: Traced, openai: ModuleType) -> None:
    simulator.play([Step(answer="From a deployment.")])
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=simulator.url, api_key="k", api_version="2024-10-21", azure_deployment="my-gpt"
    ) as client:
        answered = await client.chat.completions.create(model="gpt-5", messages=HELLO)

    assert answered.choices[0].message.content == "From a deployment."


def test_blocking_client_works_against_a_simulator_in_a_thread(simulator: Traced, openai: ModuleType) -> None:
    simulator.play([Step(answer="Hello.")])
    with openai.OpenAI(base_url=simulator.base_url, api_key="k") as client:
        answered = client.chat.completions.create(model="gpt-5", messages=HELLO)

    assert answered.choices[0].message.content == "Hello."
    simulator.expect(1, path="*/chat/completions", contains="Hello.")


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        ("openai.types.chat.completion_create_params", "CompletionCreateParamsBase", "openai_chat"),
        ("openai.types.responses.response_create_params", "ResponseCreateParamsBase", "responses"),
        ("anthropic.types.message_create_params", "MessageCreateParamsBase", "anthropic"),
    ],
)
def test_every_parameter_the_clients_know_is_known(module: str, name: str, parameters: str) -> None:
    import importlib

    declared = set(getattr(importlib.import_module(module), name).__annotations__)
    known = vars(importlib.import_module(f"quarterdeck.devtools.simulator.{parameters}"))["_PARAMETERS"]

    assert declared - known == set()


@pytest.fixture
def upstream() -> Iterator[Simulator]:
    """What stands for the real provider while recording."""
    with Simulator(
        Options(seed=9, scripts=[Script(steps=[Step(answer="The key sk-live-0123456789 is secret.")])])
    ) as running:
        yield running


@pytest.mark.row("D1", part="record")
async def test_traffic_is_recorded_without_secrets_and_played_again(
    upstream: Simulator, openai: ModuleType, tmp_path: Path
) -> None:
    cassette = tmp_path / "one.jsonl"

    async def ask(simulator: Simulator, key: str) -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=simulator.base_url, api_key=key, max_retries=0) as client:
            messages = [{"role": "user", "content": f"My key is {key}."}] if key == "sk-mine-0123456789" else HELLO
            whole = await client.chat.completions.create(model="gpt-5", messages=messages)
            pieces = [c.choices[0].delta.content async for c in await client.chat.completions.create(
                model="gpt-5", messages=messages, stream=True) if c.choices]  # fmt: skip
        return whole.choices[0].message.content, "".join(piece or "" for piece in pieces)

    async with Simulator(record=cassette, upstream=upstream.base_url) as recording:
        first = await ask(recording, "sk-mine-0123456789")
    async with Simulator(replay=cassette) as playing:
        again = await ask(playing, "sk-mine-0123456789")
        with pytest.raises(openai.BadRequestError) as lost:
            await ask(playing, "sk-other")

    text = cassette.read_text()
    assert first == ("The key sk-live-0123456789 is secret.",) * 2
    assert again == ("The key [secret] is secret.",) * 2
    assert "sk-mine" not in text
    assert "authorization" not in text.lower()
    assert len(text.splitlines()) == 2
    assert cassette.stat().st_mode & 0o777 == 0o600
    assert lost.value.code == "unmatched"


def test_recording_needs_to_know_whom_to_ask(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="upstream"):
        Simulator(record=tmp_path / "x.jsonl")
    with pytest.raises(Misconfigured, match="no cassette"):
        Simulator(replay=tmp_path / "x.jsonl")
