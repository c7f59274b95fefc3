"""OpenAI's own Python client against a running server: what it expects is the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from .conftest import Server

QUESTION: list[Any] = [{"role": "user", "content": "How long does a VPN session last before I have to sign in again?"}]
TICKET: list[Any] = [{"role": "user", "content": "Please open a ticket because my laptop does not charge."}]


@pytest.fixture(scope="module")
def openai() -> ModuleType:
    import openai  # one second of CPU: only where it is used

    return openai


@pytest.fixture(scope="module")
def client(server: Server, openai: ModuleType) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key("emma")) as opened:
        yield opened


@pytest.mark.row("S8", part="openai chat")
def test_agents_are_models(client: Any) -> None:
    listed = client.models.list().data

    assert [model.id for model in listed] == ["support"]
    assert client.models.retrieve("support") == listed[0]


@pytest.mark.row("S8", part="openai chat")
def test_chat_whole_and_streamed_say_the_same(client: Any) -> None:
    whole = client.chat.completions.create(model="support", messages=QUESTION, temperature=0)
    with client.chat.completions.stream(
        model="support", messages=QUESTION, stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()

    said = whole.choices[0].message.content
    assert "12 hours" in said
    assert "".join(deltas) == final.choices[0].message.content == said
    assert len(deltas) > 3
    assert whole.choices[0].finish_reason == final.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0
    assert final.usage.total_tokens == whole.usage.total_tokens
    assert final.system_fingerprint == whole.system_fingerprint
    assert whole.quarterdeck["sources"][0].startswith("vpn-setup")


@pytest.mark.row("S8", part="openai history")
def test_conversation_kept_by_the_client_is_heard(client: Any, server: Server) -> None:
    first = client.chat.completions.create(model="support", messages=QUESTION).choices[0].message
    earlier = [*QUESTION, first.model_dump(exclude_none=True)]

    raw = client.chat.completions.with_raw_response.create(model="support", messages=[*earlier, *QUESTION])

    events = server.send("GET", f"/api/v1/runs/{raw.headers['x-run-id']}/events", user="emma").body.decode()
    started = json.loads(events.partition("event: run_started\ndata: ")[2].partition("\n")[0])
    assert [message["role"] for message in started["history"]] == ["user", "assistant"]
    assert started["history"][1]["parts"][0]["text"] == first.content


@pytest.mark.row("S8", part="openai responses")
def test_response_whole_streamed_and_fetched_again_say_the_same(client: Any) -> None:
    question = QUESTION[0]["content"]
    whole = client.responses.create(model="support", input=question)
    with client.responses.stream(model="support", input=question) as stream:
        events = list(stream)
        final = stream.get_final_response()
    again = client.responses.retrieve(whole.id)

    assert "12 hours" in whole.output_text
    assert whole.output_text == final.output_text == again.output_text
    assert (whole.status, final.status, whole.usage) == ("completed", "completed", again.usage)
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text


@pytest.mark.row("S8", part="openai chat")
def test_write_that_waits_for_a_person_is_told_in_words_and_fields(client: Any, server: Server) -> None:
    whole = client.chat.completions.create(model="support", messages=TICKET)
    streamed = list(client.chat.completions.create(model="support", messages=TICKET, stream=True))

    assert whole.choices[0].finish_reason == "stop"
    assert "waits for the approval of a person" in whole.choices[0].message.content
    (draft,) = whole.quarterdeck["drafts"]
    assert server.send("GET", f"/api/v1/approvals/{draft}", user="omar").status == 200
    assert whole.quarterdeck["stop_reason"] == streamed[-1].quarterdeck["stop_reason"] == "awaiting_approval"


@pytest.mark.row("S8", part="openai errors")
def test_errors_are_the_clients_own_exceptions(client: Any, server: Server, openai: ModuleType) -> None:
    with pytest.raises(openai.NotFoundError) as model:
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as several:
        client.chat.completions.create(model="support", messages=QUESTION, n=2)
    with pytest.raises(openai.PermissionDeniedError):
        client.responses.create(model="support", input="Hello", instructions="Obey me.")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="qd_nobody") as stranger,
        pytest.raises(openai.AuthenticationError) as key,
    ):
        stranger.models.list()

    assert (model.value.code, model.value.param, model.value.type) == ("model_not_found", "model", "invalid_request_error")
    assert (several.value.code, several.value.param) == ("unsupported_parameter", "n")
    assert key.value.code == "invalid_api_key"
    assert key.value.request_id


@pytest.mark.row("S8", part="openai errors")
def test_unknown_fields_are_ignored_and_named(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="support", messages=QUESTION, seed=7, extra_body={"verbosity_of_old": 3}
    )

    assert raw.headers["x-quarterdeck-warning"] == "ignored: seed, verbosity_of_old"
    assert raw.parse().metadata["run_id"] == raw.headers["x-run-id"]
