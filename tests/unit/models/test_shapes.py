"""However a server cuts its reply, it is the same reply."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck.core.events import Delta
from quarterdeck.models.anthropic import AnthropicModel
from quarterdeck.models.base import Completion
from quarterdeck.models.openai import OpenAIModel
from quarterdeck.models.responses import ResponsesModel
from tests.dialects import Called
from tests.provider import WEATHER, context, question
from tests.unit.models.shapes import SHAPES

MODELS: Mapping[str, Any] = {"anthropic": AnthropicModel, "responses": ResponsesModel}

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=4)
names = st.sampled_from(["get_weather", "a", "search-kb", "f2"])
arguments = st.dictionaries(
    st.text(max_size=4), st.text(max_size=6) | st.integers() | st.lists(st.booleans(), max_size=2), max_size=3
)


@st.composite
def called(draw: st.DrawFn, id: str) -> Called:
    """A call whose arguments are cut anywhere."""
    text = json.dumps(draw(arguments), ensure_ascii=draw(st.booleans()))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return Called(draw(names), tuple(pieces), id=id)


@st.composite
def many_calls(draw: st.DrawFn) -> list[Called]:
    return [draw(called(f"call_{n}")) for n in range(draw(st.integers(0, 3)))]


class Played:
    """A client whose server sends these pieces of a stream, whatever it is asked."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter((*pieces, b""))
        self.status = 200
        self.headers = {"Content-Type": "text/event-stream"}

    @asynccontextmanager
    async def open(self, *args: Any, **kwargs: Any) -> Any:
        yield self

    async def read_some(self) -> bytes:
        return next(self._pieces)

    async def drain(self) -> None: ...


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """`data` cut at these places, taken around its length."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return (data[begin:end] for begin, end in pairwise(bounds) if end > begin)


def heard(family: str, pieces: Sequence[bytes]) -> tuple[Completion, list[Delta]]:
    client: Any = Played(pieces)
    model = MODELS.get(family, OpenAIModel)(f"{family}:m", base_url="https://model.example", api_key="", client=client)
    deltas: list[Delta] = []

    async def keep(delta: Delta) -> None:
        deltas.append(delta)

    return asyncio.run(model.complete(question(tools=(WEATHER,)), context(), keep)), deltas


@pytest.mark.row("R3", part="server families")
@pytest.mark.parametrize("family", SHAPES)
@settings(max_examples=40)
@given(words=texts, calls=many_calls(), places=st.lists(st.integers(0, 10**6), max_size=12))
def test_a_reply_is_the_same_however_it_is_cut(
    family: str, words: list[str], calls: list[Called], places: list[int]
) -> None:
    if not words and not calls:
        words = ["Yes."]

    reply, deltas = heard(family, list(cut(b"".join(SHAPES[family](words, calls)), places)))

    assert reply.text == "".join(words)
    assert [(call.name, call.args) for call in reply.tool_calls] == [
        (call.name, json.loads(call.arguments)) for call in calls
    ]
    assert reply.finish_reason == ("tool_calls" if calls else "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.estimated) == (20, 5, False)
    assert "".join(delta.text for delta in deltas if delta.kind == "text") == reply.text
    assert [delta.text for delta in deltas if delta.kind == "tool_start"] == [call.name for call in calls]


def place_of(data: bytes) -> int | None:
    """The call an event speaks of, by its index; None for an event about the whole reply."""
    told = data.partition(b"data: ")[2]
    decoded = json.loads(told) if told.startswith(b"{") else {}
    choices = decoded.get("choices") or [{}]
    fragments = choices[0].get("delta", {}).get("tool_calls") or [{}]
    return decoded.get("output_index", decoded.get("index", fragments[0].get("index")))  # type: ignore[no-any-return]  # JSON


@pytest.mark.row("R3", part="server families")
@pytest.mark.parametrize("family", ["openai", "azure", "vllm", "together", "anthropic", "responses"])
@settings(max_examples=40)
@given(calls=st.tuples(called("call_0"), called("call_1")), rng=st.randoms(use_true_random=False))
def test_calls_may_come_interleaved(family: str, calls: tuple[Called, Called], rng: random.Random) -> None:
    events = list(SHAPES[family]((), calls))
    places = [place_of(data) for data in events]
    first = places.index(0)
    queues = [[data for data, place in zip(events, places, strict=True) if place == call] for call in (0, 1)]
    around = [data for data, place in zip(events[first:], places[first:], strict=True) if place is None]
    merged = []
    while any(queues):
        merged.append(rng.choice([queue for queue in queues if queue]).pop(0))

    reply, _ = heard(family, [*events[:first], *merged, *around])

    assert [(call.name, call.args) for call in reply.tool_calls] == [
        (call.name, json.loads(call.arguments)) for call in calls
    ]
