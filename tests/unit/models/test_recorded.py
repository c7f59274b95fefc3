"""Cassettes: what is written, and that it plays as it was."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.core.context import Context
from quarterdeck.core.errors import Misconfigured, ModelInvalid, ModelRefused, ModelUnavailable, NotFound, QuarterdeckError
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel, Step
from quarterdeck.models.base import Completion, ModelRequest
from quarterdeck.models.recorded import Cassette, Playback, Recording, Replaying
from quarterdeck.models.simulated import SimulatedModel
from tests.provider import WEATHER, context, question

TEN = Usage(prompt_tokens=8, completion_tokens=2, cost_usd=0.5, seconds=1.25)
HELLO = Completion(
    text="Hello, 世界.", reasoning="Hm.", usage=TEN, model="test:m", route="router: rule x -> test:m", attempts=2
)
CALLS = Completion(
    tool_calls=(
        ToolCall(id="a", name="get_weather", args={"city": "Oslo"}),
        ToolCall(id="b", name="x", malformed="no JSON"),
    ),
    finish_reason="tool_calls",
    usage=TEN,
    model="test:m",
)


async def record(path: Path, texts: Sequence[str], *script: Step, **options: Any) -> None:
    model = Recording(FakeModel(*script, name="test:m"), Cassette(path, **options))
    for text in texts:
        try:
            await model.complete(question(text), context())
        except QuarterdeckError:
            continue


def replay(path: Path, **options: Any) -> Replaying:
    return Replaying("test:m", Playback(Cassette(path), **options))


@pytest.mark.row("O4", part="recording")
async def test_what_was_recorded_plays_exactly(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.jsonl"
    await record(path, ["a", "b"], HELLO, CALLS)

    model = replay(path)
    played = [await model.complete(question(text), context()) for text in ("b", "a")]

    assert played == [CALLS, HELLO]


@pytest.mark.row("O4", part="recording")
async def test_pieces_are_played_as_they_came(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "calls.jsonl")
    live: list[Delta] = []
    played: list[Delta] = []

    async def hear(delta: Delta) -> None:
        live.append(delta)

    async def hear_again(delta: Delta) -> None:
        played.append(delta)

    said = await Recording(SimulatedModel(), cassette, name="test:m").complete(question(), context(), hear)
    again = await replay(cassette.path).complete(question(), context(), hear_again)

    assert again == said
    assert played == live
    assert len(live) > 1


async def test_a_reply_nobody_watched_is_played_whole_to_whoever_watches(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["a"], HELLO)
    heard: list[str] = []

    async def hear(delta: Delta) -> None:
        heard.append(delta.text)

    await replay(path).complete(question("a"), context(), hear)

    assert heard == [HELLO.text]


@pytest.mark.parametrize(
    "error",
    [
        ModelUnavailable("down", status=503, delivered=True),
        ModelRefused("key", status=401),
        ModelInvalid("html", usage=TEN),
    ],
    ids=lambda error: error.code,
)
async def test_failures_are_played_too(tmp_path: Path, error: Any) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["a"], error)

    with pytest.raises(type(error), match=str(error)) as caught:
        await replay(path).complete(question("a"), context())

    for attribute in ("status", "delivered", "usage"):
        assert getattr(caught.value, attribute, None) == getattr(error, attribute, None)


async def test_equal_requests_play_in_the_order_they_were_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["a", "a"], ModelUnavailable("down"), HELLO)
    model = replay(path)

    with pytest.raises(ModelUnavailable):
        await model.complete(question("a"), context())

    assert await model.complete(question("a"), context()) == HELLO
    with pytest.raises(NotFound, match="every recorded call was asked for"):
        await model.complete(question("a"), context())


@pytest.mark.row("O4", part="recording")
async def test_a_request_that_was_not_recorded_is_told_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["What is the weather in Oslo?", "Tell me a long story about whales."], HELLO, HELLO)

    with pytest.raises(NotFound) as caught:
        await replay(path).complete(question("What is the weather in Rome?"), context())

    assert "messages[1].parts[0].text" in str(caught.value)
    assert '"What is the weather in Oslo?"' in str(caught.value)
    assert '"What is the weather in Rome?"' in str(caught.value)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"tools": (WEATHER,)}, "tools"),
        ({"temperature": 0.5}, "temperature"),
        ({"output_schema": {"type": "object"}}, "output_schema"),
        ({"options": {"seed": 7}}, "options"),
    ],
    ids=["tools", "temperature", "schema", "options"],
)
async def test_every_part_of_a_request_counts(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["a"], HELLO)

    with pytest.raises(NotFound, match=f"differs at {place}"):
        await replay(path).complete(question("a", **change), context())


async def test_a_strict_replay_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    await record(path, ["a", "b"], HELLO, CALLS)
    model = replay(path, in_order=True)

    with pytest.raises(NotFound, match='recorded "a", asked "b"'):
        await model.complete(question("b"), context())

    assert await model.complete(question("a"), context()) == HELLO
    assert await model.complete(question("b"), context()) == CALLS


SECRETS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk-ant-api03-abcdefghijklmnop",
    "ghp_abcdefghijklmnopqrst",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz12345",
    "xoxb-123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.dBjftJeZ4CVPmB92K27uhbUJU1p1r",
]


@pytest.mark.row("O4", part="recording")
@pytest.mark.parametrize("secret", [*SECRETS, "our-own-secret"])
async def test_no_secret_reaches_the_file_and_the_replay_finds_the_call(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "calls.jsonl"
    text = f"The key is {secret}, thanks."
    said = Completion(text=f"You said {secret}.", tool_calls=(ToolCall(id="a", name="x", args={secret: [secret]}),))
    await record(path, [text], said, secrets=["our-own-secret"])

    played = Replaying("test:m", Playback(Cassette(path, secrets=["our-own-secret"])))
    reply = await played.complete(question(text), context())

    assert secret not in path.read_text()
    assert reply.text == "You said [secret]."


async def test_a_cassette_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    await record(path, ["a"], HELLO)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_calls_side_by_side_are_each_a_line(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    model = Recording(SimulatedModel(), Cassette(path))

    await asyncio.gather(*(model.complete(question(f"Say {n}."), context()) for n in range(30)))

    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", ":1 is no recorded call"),
        ('{"v":9,"key":"","asked":{}}', ":1 was written by another version"),
        ('{"v":1,"key":"abc","asked":{}}', ":1 was written by another version, or changed by hand"),
    ],
)
def test_a_cassette_that_cannot_be_played_says_why(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "calls.jsonl"
    if content is not None:
        path.write_text(content)

    with pytest.raises(Misconfigured, match=said):
        Playback(Cassette(path))


@pytest.mark.parametrize("text", ["line\u2028separator", "next\x85line", "nothing\x00", "form\x0cfeed"])
async def test_text_with_any_character_plays_again(tmp_path: Path, text: str) -> None:
    await record(tmp_path / "c.jsonl", [text], replace(HELLO, text=text))

    reply = await replay(tmp_path / "c.jsonl").complete(question(text), context())

    assert reply.text == text.replace("\x00", "")


@pytest.mark.row("O4", part="recording")
@pytest.mark.parametrize("kind", ["text", "reasoning"])
async def test_a_secret_cut_in_two_by_the_stream_does_not_reach_the_file(tmp_path: Path, kind: Any) -> None:
    pieces = [
        Delta(kind=kind, text="It is sk-abcdefgh"),
        Delta(kind=kind, text="ijklmnopqrst", n=1),
        Delta(kind=kind, text="."),
    ]
    cassette = Cassette(tmp_path / "c.jsonl")

    await cassette.write({}, {"said": {}}, pieces)

    [entry] = cassette.read()
    assert "".join(delta["text"] for delta in entry["deltas"]) == "It is [secret]."


async def test_what_stands_inside_may_still_prepare(tmp_path: Path) -> None:
    class Prepares(SimulatedModel):
        prepared = 0

        async def prepare(self, request: ModelRequest, ctx: Context) -> None:
            self.prepared += 1

    model = Prepares()

    await Recording(model, Cassette(tmp_path / "c.jsonl")).prepare(question(), context())
    await Recording(SimulatedModel(), Cassette(tmp_path / "c.jsonl")).prepare(question(), context())

    assert model.prepared == 1


async def test_a_secret_that_begins_like_another_is_removed_whole(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.jsonl", secrets=["hunter2", "hunter2-production"])

    asked = cassette.asked("test:m", question("It is hunter2-production."))

    assert "production" not in json.dumps(asked)
