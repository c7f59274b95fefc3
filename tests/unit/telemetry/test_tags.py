from __future__ import annotations

import pytest

from quarterdeck.telemetry.tags import MAX_TAG_BYTES, TagRule, TagRules, logged

RULES = TagRules(
    [
        TagRule(name="experiment", header="x-experiment"),
        TagRule(name="shadow", header="x-shadow", values=frozenset({"true", "false"})),
    ]
)


def read(traced: bool = True, **headers: str) -> dict[str, str]:
    return RULES.read({name.replace("_", "-"): value for name, value in headers.items()}, traced=traced)


@pytest.mark.row("D3", part="allow-list")
def test_only_tags_of_the_allow_list_are_taken_from_their_headers_and_from_baggage() -> None:
    assert read(x_experiment="b", x_other="c", baggage="shadow=true;p=1, user=emma") == {"experiment": "b", "shadow": "true"}


def test_a_header_of_its_own_counts_before_baggage() -> None:
    assert read(x_experiment="b", baggage="experiment=c") == {"experiment": "b"}


def test_context_of_traces_of_others_travels_as_it_came() -> None:
    headers = {"tracestate": "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "x_trace_id_ext": "visit-7"}

    assert read(**headers) == {"tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "trace_id_ext": "visit-7"}
    assert read(traced=False, **headers) == {"trace_id_ext": "visit-7"}


@pytest.mark.row("D3", part="garbage")
@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "a b",
        "x\r\nset-cookie: a=1",
        "\x00",
        "\u202e",
        "a" * 65,
        "a" * 10_000,
        ",;=%",
        "emma@example.com",
        "13812345678",
        "4111-1111-1111-1111",
        "\u4f60",
    ],
)
def test_garbage_and_personal_data_are_dropped(garbage: str) -> None:
    given = read(x_experiment=garbage, x_shadow=garbage, x_trace_id_ext=garbage, baggage=garbage, tracestate=garbage)

    assert {name: value for name, value in given.items() if name != "trace_id_ext"} == {}
    assert given.get("trace_id_ext") in (None, garbage)


def test_values_outside_a_closed_list_are_dropped() -> None:
    assert read(x_shadow="maybe") == {}


@pytest.mark.row("D3", part="garbage")
def test_all_of_it_is_at_most_a_kibibyte() -> None:
    rules = TagRules([TagRule(name=f"t{number}", header=f"x-t{number}") for number in range(40)])

    found = rules.read({f"x-t{number}": "v" * 60 for number in range(40)}, traced=True)

    assert 900 < sum(len(name) + len(value) for name, value in found.items()) <= MAX_TAG_BYTES


def test_log_lines_say_the_named_tags_and_the_id_of_the_whole_session() -> None:
    assert logged({"experiment": "b", "trace_id_ext": "visit-7"}, "a" * 32) == {
        "session_trace_id": "visit-7",
        "tag_experiment": "b",
    }
    assert logged({}, "a" * 32) == {"session_trace_id": "a" * 32}
