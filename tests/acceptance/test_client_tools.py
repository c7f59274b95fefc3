"""Tools of the client, through OpenAI's own client: the agent calls them, the client executes them and asks again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from .conftest import Server, with_root

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the present weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("served")
    started = Server(place / "data", folder=with_root(place / "folder"))
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def openai() -> ModuleType:
    import openai  # one second of CPU: only where it is used

    return openai


@pytest.fixture(scope="module")
def client(server: Server, openai: ModuleType) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key("root")) as opened:
        yield opened


@pytest.mark.row("S8", part="openai tools")
def test_chat_ends_with_the_call_and_goes_on_with_its_result(client: Any, server: Server) -> None:
    first = client.chat.completions.create(model="support", messages=QUESTION, tools=TOOLS).choices[0]
    call = first.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear", "celsius": 21}'}

    raw = client.chat.completions.with_raw_response.create(
        model="support", messages=[*QUESTION, first.message.model_dump(exclude_none=True), result], tools=TOOLS
    )

    assert first.finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)["city"]) == ("get_weather", "Lisbon")
    events = server.send("GET", f"/api/v1/runs/{raw.headers['x-run-id']}/events", user="root").body.decode()
    started = json.loads(events.partition("event: run_started\ndata: ")[2].partition("\n")[0])
    made, gave = started["since"]
    assert (made["tool_calls"][0]["name"], made["tool_calls"][0]["args"]) == ("get_weather", {"city": "Lisbon"})
    assert gave["call_id"] == made["tool_calls"][0]["id"]
    heard = gave["parts"][0]
    assert '"celsius": 21' in heard["text"]
    typed = started["input"]["parts"][0]["label"]
    assert heard["label"].get("integrity") != typed.get("integrity"), "what a tool of a client gives is trusted by nobody"
    assert started["input"]["parts"][0]["text"] == QUESTION[0]["content"]


@pytest.mark.row("S8", part="openai tools")
def test_the_loop_of_a_client_ends_with_an_answer_from_what_its_tools_gave(client: Any) -> None:
    messages = [*QUESTION]
    made = 0

    for _ in range(4):
        choice = client.chat.completions.create(model="support", messages=messages, tools=TOOLS).choices[0]
        messages.append(choice.message.model_dump(exclude_none=True))
        for call in choice.message.tool_calls or ():
            made += 1
            messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear", "celsius": 21}'})
        if choice.finish_reason == "stop":
            break

    assert (choice.finish_reason, made) == ("stop", 1)
    assert "21" in choice.message.content
    assert "clear" in choice.message.content


@pytest.mark.row("S8", part="openai tools")
def test_streams_end_with_the_call_too(client: Any) -> None:
    with client.chat.completions.stream(model="support", messages=QUESTION, tools=TOOLS) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    with client.responses.stream(model="support", input=QUESTION, tools=[{"type": "function", **WEATHER}]) as events:
        kinds = [event.type for event in events]
        response = events.get_final_response()

    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls[0].function.name == "get_weather"
    assert "response.function_call_arguments.done" in kinds
    assert response.output[-1].type == "function_call"
    assert json.loads(response.output[-1].arguments)["city"] == "Lisbon"


@pytest.mark.row("S8", part="openai tools")
def test_response_goes_on_with_the_output_of_a_call(client: Any) -> None:
    tools: list[Any] = [{"type": "function", **WEATHER}]
    first = client.responses.create(model="support", input=QUESTION, tools=tools)
    call = first.output[-1]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "clear, 21 degrees"}

    second = client.responses.create(model="support", input=[*QUESTION, call.model_dump(), output], tools=tools)

    assert second.status == "completed"
    assert "clear, 21 degrees" in second.output_text
    assert second.id != first.id


@pytest.mark.row("S8", part="openai tools")
def test_tools_of_a_client_need_somebody_who_answers_for_them(server: Server, openai: ModuleType) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key("emma")) as client,
        pytest.raises(openai.PermissionDeniedError, match=r"history\.write"),
    ):
        client.chat.completions.create(model="support", messages=QUESTION, tools=TOOLS)


def test_tool_with_a_name_of_the_agents_own_is_refused(client: Any, openai: ModuleType) -> None:
    taken = [{"type": "function", "function": {**WEATHER, "name": "search_knowledge_base"}}]

    with pytest.raises(openai.BadRequestError, match="search_knowledge_base"):
        client.chat.completions.create(model="support", messages=QUESTION, tools=taken)
