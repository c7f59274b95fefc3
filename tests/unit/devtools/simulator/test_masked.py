"""Bodies of replies with credentials in them, as each provider tells them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quarterdeck.core.masking import MASK, Mask
from quarterdeck.devtools.simulator.masked import masked_body, masked_stream
from quarterdeck.devtools.simulator.scripts import Script, Step, Wanted
from tests.unit.devtools.simulator.asking import CHAT_TOOL, chat, claude, send, simulator

KEY = "sk-live-0123456789abcdef"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END PRIVATE KEY-----"
ASKED = {
    "chat": ("/v1/chat/completions", chat("Key?", stream=True)),
    "responses": ("/v1/responses", {"model": "gpt-5", "input": "Key?", "stream": True}),
    "anthropic": ("/v1/messages", claude("Key?", stream=True)),
}


async def streamed(way: str, **step: Any) -> str:
    path, body = ASKED[way]
    heard = await send(simulator(scripts=[Script(steps=[Step(**step)])]), path, body)
    assert heard.status == 200
    return heard.body.decode()


def events(stream: str) -> list[Any]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]


def told(value: Any, name: str, found: dict[str, str]) -> dict[str, str]:
    """The texts of a JSON value, those of one name put together."""
    if isinstance(value, dict):
        for key, item in value.items():
            told(item, key, found)
    elif isinstance(value, list):
        for item in value:
            told(item, name, found)
    elif isinstance(value, str):
        found[name] = found.get(name, "") + value
    return found


@pytest.mark.row("O4", part="recording")
@pytest.mark.parametrize("way", ASKED)
@pytest.mark.parametrize("secret", [KEY, PEM, "hunter2-production"])
async def test_a_credential_streamed_in_pieces_does_not_stay(way: str, secret: str) -> None:
    stream = await streamed(way, answer=f"It is {secret} indeed.", reasoning=f"I know {secret} well.")

    clean = masked_stream(stream, Mask(["hunter2-production"]))

    before, after = told(events(stream), "", {}), told(events(clean), "", {})
    assert any(secret in text for text in before.values())
    assert {name: text.replace(secret, MASK) for name, text in before.items()} == after
    assert [event.get("type") for event in events(clean)] == [event.get("type") for event in events(stream)]


async def test_a_credential_in_the_arguments_of_a_call_does_not_stay() -> None:
    path, body = "/v1/chat/completions", chat("Weather?", tools=[CHAT_TOOL], stream=True)
    calls = [Wanted(tool="get_weather", arguments={"city": KEY}), Wanted(tool="get_weather", arguments={"city": "Oslo"})]
    heard = await send(simulator(scripts=[Script(steps=[Step(calls=calls)])]), path, body)

    clean = masked_stream(heard.body.decode(), Mask())

    arguments = {0: "", 1: ""}
    for event in events(clean):
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls", ()):
                arguments[call["index"]] += call["function"].get("arguments", "")
    assert [json.loads(text) for text in arguments.values()] == [{"city": MASK}, {"city": "Oslo"}]


@pytest.mark.parametrize("way", ASKED)
async def test_a_stream_without_credentials_stays_as_it_is(way: str) -> None:
    stream = await streamed(way, answer="Nothing to hide.")

    assert masked_stream(stream, Mask()) == stream


def test_what_is_no_json_is_masked_as_text() -> None:
    stream = f'data: {{"cut": "{KEY}\n\n: {KEY}\n\ndata: [1]\r\n\r\ndata: [DONE]\n\n'

    assert masked_stream(stream, Mask()) == stream.replace(KEY, MASK)


def test_a_whole_body_stays_json() -> None:
    body = json.dumps({"a": "see http://x", "b": [f'"{KEY}"'], "c": "u:p@y"})

    assert json.loads(masked_body(body, Mask())) == {"a": "see http://x", "b": [f'"{MASK}"'], "c": "u:p@y"}
    assert masked_body('{"n":  1}', Mask()) == '{"n":  1}'
    assert masked_body(f"<p>{KEY}</p>", Mask()) == f"<p>{MASK}</p>"
