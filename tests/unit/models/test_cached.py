"""The cache: what is the same, who may share it, when it is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import ModelUnavailable
from quarterdeck.core.events import Delta
from quarterdeck.core.labels import PUBLIC, Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.usage import Usage
from quarterdeck.devtools.fakes import FakeModel
from quarterdeck.models.base import Completion, Emit, ModelRequest
from quarterdeck.models.cached import Cached, CompletionCache, cache_key
from quarterdeck.models.fallback import Fallback
from tests.provider import WEATHER, context, question

TEN = Usage(prompt_tokens=8, completion_tokens=2, cost_usd=0.5)


class Counts:
    """Answers every request with the number of the call."""

    def __init__(self, name: str = "test:m", **fields: Any) -> None:
        self.name = name
        self.calls = 0
        self._fields = fields

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        self.calls += 1
        return Completion(**{"text": str(self.calls), "model": self.name, "usage": TEN, **self._fields})


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(text: str = "Hi?", *, readers: Readers = PUBLIC, integrity: Integrity = Integrity.TRUSTED, **more: Any) -> Any:
    label = Label(integrity=integrity, readers=readers, sources=more.pop("sources", ()))
    return ModelRequest(messages=(Message(role=Role.USER, parts=(Text(text=text, label=label),)),), **more)


def by(user: str, *groups: str, tenant: str = "acme") -> Context:
    return replace(context(), principal=Principal(user=user, tenant=tenant, groups=groups))


@pytest.mark.row("K11", part="model answers")
async def test_the_same_request_is_answered_again_at_no_cost() -> None:
    model, cache = Counts(), CompletionCache()
    cached = Cached(model, cache)

    first = await cached.complete(asked(), by("ann"))
    again = await cached.complete(asked(), by("ann"))

    assert (first.text, first.route, first.usage) == ("1", "", TEN)
    assert (again.text, again.route, again.usage, again.attempts) == ("1", "cache: hit", Usage(), 0)
    assert again.model == "test:m"
    assert (cache.hits, cache.misses, cache.saved) == (1, 1, TEN)


PRIVATE = Readers.of("user:ann")


@pytest.mark.row("K11", part="model answers")
@pytest.mark.parametrize(
    ("first", "then", "shared"),
    [
        ((asked(), by("ann")), (asked(), by("ben")), True),
        ((asked(), by("ann")), (asked(), by("ann", tenant="other")), False),
        ((asked(readers=PRIVATE), by("ann")), (asked(readers=PRIVATE), by("ann")), True),
        ((asked(readers=PRIVATE), by("ann")), (asked(readers=PRIVATE), by("ben")), False),
        ((asked(readers=PRIVATE), by("ann", "hr")), (asked(readers=PRIVATE), by("ann")), False),
        ((asked(), by("ann")), (asked(readers=PRIVATE), by("ann")), False),
        ((asked(), by("ann")), (asked(integrity=Integrity.UNTRUSTED), by("ann")), False),
        ((asked(sources=("run1",)), by("ann")), (asked(sources=("run2",)), by("ann")), True),
        ((asked(), by("ann")), (asked("Ho?"), by("ann")), False),
        ((asked(), by("ann")), (asked(output_schema={"type": "object"}), by("ann")), False),
        ((asked(), by("ann")), (asked(options={"seed": 1}), by("ann")), False),
        ((asked(), by("ann")), (asked(max_tokens=5), by("ann")), False),
    ],
)
async def test_the_key_is_everything_an_answer_depends_on_and_who_may_see_it(first: Any, then: Any, shared: bool) -> None:
    assert (cache_key("test:m", *first) == cache_key("test:m", *then)) is shared


def test_the_model_and_the_tools_are_part_of_the_key() -> None:
    keys = {
        cache_key("test:a", question(), context()),
        cache_key("test:b", question(), context()),
        cache_key("test:a", question(tools=(WEATHER,)), context()),
        cache_key("test:a", question(tools=(WEATHER,), tool_choice="none"), context()),
    }

    assert len(keys) == 4


CALLED = ToolCall(id="t1c0", name="get_weather", args={"city": "Oslo"})


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (question(tools=(WEATHER,)), {}),
        (ModelRequest(messages=(*question().messages, Message(role=Role.ASSISTANT, tool_calls=(CALLED,)))), {}),
        (question(temperature=0.7), {}),
        (question(), {"finish_reason": "length"}),
        (question(), {"finish_reason": "content_filter"}),
    ],
    ids=["tools", "past calls", "chance", "cut", "filtered"],
)
async def test_what_would_not_be_the_same_again_is_not_kept(request_: ModelRequest, fields: dict[str, Any]) -> None:
    model = Counts(**fields)
    cached = Cached(model, CompletionCache())

    await cached.complete(request_, context())
    await cached.complete(request_, context())

    assert model.calls == 2


async def test_requests_with_tools_are_kept_if_asked_for() -> None:
    model = Counts(text="", tool_calls=(CALLED,), finish_reason="tool_calls")
    cached = Cached(model, CompletionCache(), with_tools=True)

    await cached.complete(question(tools=(WEATHER,)), context())
    again = await cached.complete(question(tools=(WEATHER,)), context())

    assert (again.tool_calls, model.calls) == ((CALLED,), 1)


async def test_the_answer_of_a_stand_in_is_not_kept() -> None:
    back = Completion(text="Back.", model="test:one")
    cached = Cached(
        Fallback([FakeModel(ModelUnavailable("x"), back, name="test:one"), Counts("test:two")]), CompletionCache()
    )

    during = await cached.complete(asked(), by("ann"))
    after = await cached.complete(asked(), by("ann"))

    assert (during.text, after.text) == ("1", "Back.")


async def test_a_hit_is_told_to_whoever_watches() -> None:
    cached = Cached(Counts(text="Hi.", reasoning="Hm."), CompletionCache())
    heard: list[Delta] = []

    async def hear(delta: Delta) -> None:
        heard.append(delta)

    await cached.complete(asked(), by("ann"))
    await cached.complete(asked(), by("ann"), hear)

    assert [(delta.kind, delta.text, delta.n) for delta in heard] == [("reasoning", "Hm.", 0), ("text", "Hi.", 1)]


async def test_answers_are_forgotten_with_time() -> None:
    clock = Time()
    model = Counts()
    cached = Cached(model, CompletionCache(ttl_s=60, clock=clock))

    await cached.complete(asked(), by("ann"))
    clock.now = 59.9
    await cached.complete(asked(), by("ann"))
    clock.now = 60.0
    await cached.complete(asked(), by("ann"))

    assert model.calls == 2


async def test_the_answer_used_longest_ago_makes_room() -> None:
    model = Counts()
    cached = Cached(model, CompletionCache(max_entries=2))

    for text in ("a", "b", "a", "c", "a", "b"):
        await cached.complete(asked(text), by("ann"))

    assert model.calls == 4  # a, b, c, and b again


async def test_answers_make_room_by_their_size_and_one_that_is_too_large_is_not_kept() -> None:
    cache = CompletionCache(max_bytes=3000)
    long, short = Counts(text="x" * 1000), Counts(text="y")

    for text in ("a", "b", "c", "c", "a"):
        await Cached(long, cache).complete(asked(text), by("ann"))
    for _ in range(2):
        await Cached(short, cache).complete(asked("short"), by("ann"))
        await Cached(Counts(text="z" * 4000), cache).complete(asked("huge"), by("ann"))

    assert long.calls == 4  # a, b, c, and a again: three are more than there is room for
    assert short.calls == 1  # what is too large pushes nothing out
    assert cache.hits == 2
