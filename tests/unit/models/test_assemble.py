"""Tool calls from fragments."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import ModelInvalid
from quarterdeck.core.messages import ToolCall
from quarterdeck.models.assemble import MAX_ARGUMENTS, Assembler, tool_call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner),
    max_leaves=6,
)
ARGS = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), JSON, max_size=4)
NAMES = st.from_regex(r"[a-z][a-z_]{0,11}", fullmatch=True)
CALLS = st.lists(st.tuples(NAMES, ARGS), min_size=1, max_size=5)


def split(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def interleave(draw: st.DrawFn, queues: list[list[Any]]) -> list[Any]:
    """One list in which each queue keeps its order."""
    queues = [list(queue) for queue in queues if queue]
    merged = []
    while queues:
        queue = queues[draw(st.integers(0, len(queues) - 1))]
        merged.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return merged


def assembled(fragments: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    assembler = Assembler()
    for fragment in fragments:
        assembler.add(fragment)
    return assembler.calls()


def fragment(name: str | None = None, arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


@st.composite
def indexed(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Calls, and their fragments by index: with gaps, interleaved, named late, ids and names missing or repeated."""
    calls = draw(CALLS)
    indices = sorted(draw(st.sets(st.integers(0, 40), min_size=len(calls), max_size=len(calls))))
    queues = []
    for index, (name, args) in zip(indices, calls, strict=True):
        queue = [fragment(arguments=piece, index=index) for piece in split(draw, json.dumps(args, ensure_ascii=False))]
        named_at = draw(st.integers(0, len(queue)))
        queue.insert(named_at, fragment(name, index=index))
        call_id = draw(st.sampled_from([None, "", f"call_{index}"]))
        for place, item in enumerate(queue):
            if draw(st.booleans()) and place >= named_at:
                item["function"]["name"] = name
            if call_id is not None and draw(st.booleans()):
                item["id"] = call_id
        queues.append(queue)
    return calls, interleave(draw, queues)


@st.composite
def identified(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Calls, and their fragments by id alone."""
    calls = draw(CALLS)
    queues = []
    for place, (name, args) in enumerate(calls):
        pieces = split(draw, json.dumps(args))
        queues.append([fragment(name, id=f"id{place}"), *(fragment(arguments=piece, id=f"id{place}") for piece in pieces)])
    first = [queue[0] for queue in queues]
    return calls, first + interleave(draw, [queue[1:] for queue in queues])


@st.composite
def bare(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Calls, and their fragments with neither index nor id, one call after the other."""
    calls = draw(CALLS)
    fragments = []
    for name, args in calls:
        fragments += [fragment(name), *(fragment(arguments=piece) for piece in split(draw, json.dumps(args)))]
    return calls, fragments


@pytest.mark.row("R3")
@given(indexed() | identified() | bare())
def test_any_split_and_interleaving_assembles_to_the_same_calls(
    case: tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    calls, fragments = case

    found = assembled(fragments)

    assert [(call.name, call.args, call.malformed) for call in found] == [(name, args, None) for name, args in calls]


@pytest.mark.row("R3")
def test_a_server_that_numbers_every_call_zero_is_understood() -> None:
    found = assembled(
        [
            fragment("a", "{}", index=0, id="one"),
            fragment("b", '{"n":', index=0, id="two"),
            fragment(arguments="1}", index=0),
        ]
    )

    assert [(call.id, call.name, call.args) for call in found] == [("one", "a", {}), ("two", "b", {"n": 1})]


@pytest.mark.row("R3")
@pytest.mark.parametrize("names", [["get_", "weather"], ["get_", "get_weather"], ["get_weather", "get_weather"]])
def test_a_name_may_come_in_parts_growing_or_repeated(names: list[str]) -> None:
    (call,) = assembled([fragment(name, index=0) for name in names])

    assert call.name == "get_weather"


def test_the_name_is_told_once() -> None:
    assembler = Assembler()

    told = [assembler.add(fragment(name, index=0)) for name in ("look", None, "look")]

    assert told == ["look", None, None]


@pytest.mark.row("R3")
def test_a_call_that_is_never_named_is_an_error() -> None:
    with pytest.raises(ModelInvalid, match="never named"):
        assembled([fragment(arguments="{}", index=0)])


def test_fragments_of_the_wrong_shape_are_survived() -> None:
    shapes: list[dict[str, Any]] = [
        {"index": 0, "function": None},
        {"index": 0, "id": 7, "function": {"name": 3, "arguments": {"n": 1}}},
        fragment("look", index=0),
    ]

    assert assembled(shapes) == (ToolCall(id="", name="look", args={"n": 1}),)


def test_arguments_beyond_the_bound_are_dropped_while_they_come() -> None:
    assembler = Assembler()
    assembler.add(fragment("write", '{"text": "', index=0))

    for _ in range(100):
        assembler.add(fragment(arguments="x" * 65_536, index=0))

    assert assembler.tokens() < MAX_ARGUMENTS
    (call,) = assembler.calls()
    assert call.malformed == f"the arguments are longer than {MAX_ARGUMENTS} characters"


def test_a_name_without_end_is_cut_to_one_no_tool_has() -> None:
    assembler = Assembler()
    for piece in ("x" * 50, *("yz" * 40 for _ in range(1000))):
        assembler.add({"index": 0, "function": {"name": piece, "arguments": ""}})

    (call,) = assembler.calls()

    assert 64 < len(call.name) <= 128


def test_a_whole_call_followed_by_blanks_lets_the_next_name_begin_another() -> None:
    assembler = Assembler()
    for name, arguments in (("a", '{"x": 1'), ("", "}"), ("", " \n"), ("b", "{}")):
        assembler.add({"function": {"name": name, "arguments": arguments}})

    assert [(call.name, call.args) for call in assembler.calls()] == [("a", {"x": 1}), ("b", {})]


def test_no_arguments_are_an_empty_object() -> None:
    assert tool_call("1", "now", " ").args == {}


@given(st.text())
def test_whatever_the_arguments_are_the_call_is_well_formed_or_says_why(text: str) -> None:
    call = tool_call("1", "look", text)

    assert call.malformed is not None or isinstance(call.args, dict)


@pytest.mark.row("R3")
@pytest.mark.parametrize("same", [{"index": 0}, {"index": 0, "id": ""}, {"id": "call_1"}, {"index": 0, "id": "call_1"}])
def test_whole_calls_that_share_their_index_or_id_stay_apart(same: dict[str, Any]) -> None:
    assembler = Assembler()

    for name, city in (("get_weather", "Oslo"), ("get_weather", "Rome"), ("get_time", "{Lima}")):
        assembler.add({**same, "function": {"name": name, "arguments": json.dumps({"city": city})}})

    assert [(call.name, call.args) for call in assembler.calls()] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Rome"}),
        ("get_time", {"city": "{Lima}"}),
    ]


@pytest.mark.row("R3")
@pytest.mark.parametrize("beginning", ['{"a":[{}', '{"a":1,}'], ids=["open", "closed and invalid"])
def test_a_name_with_every_piece_is_read_in_time_that_grows_with_the_length(beginning: str) -> None:
    assembler = Assembler()
    started = time.process_time()

    assembler.add({"function": {"name": "f", "arguments": beginning}})
    for _ in range(80_000):
        assembler.add({"function": {"name": "f", "arguments": ",{}"}})

    assert len(assembler.calls()) == 1
    assert time.process_time() - started < 3.0
