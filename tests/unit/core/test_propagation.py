from __future__ import annotations

import pytest

from quarterdeck.core.propagation import carried, named, traceparent

TRACE = "a" * 32
TAGS = {"experiment": "b", "tier": "gold", "tracestate": "vendor=1", "trace_id_ext": "visit-7"}


@pytest.mark.parametrize("trace_id", [None, "", "0" * 32, "xyz", "A" * 32, "a" * 33, "a" * 32 + "\n"])
def test_only_a_real_trace_id_goes_along(trace_id: str | None) -> None:
    assert traceparent(trace_id) is None


def test_each_call_has_its_own_span() -> None:
    assert traceparent("a" * 32) != traceparent("a" * 32)


def test_what_goes_out_is_the_context_of_the_trace_and_the_tags_as_baggage() -> None:
    headers = carried(TRACE, TAGS, request_id="r-1")

    assert headers.pop("traceparent").startswith(f"00-{TRACE}-")
    assert headers == {
        "tracestate": "vendor=1",
        "x-trace-id-ext": "visit-7",
        "x-request-id": "r-1",
        "baggage": "experiment=b,tier=gold",
    }


def test_only_the_tags_that_may_go_along_do() -> None:
    assert carried(None, TAGS, only={"tier"})["baggage"] == "tier=gold"
    assert "baggage" not in carried(None, TAGS, only=())


def test_a_state_without_its_trace_stays_here() -> None:
    assert "tracestate" not in carried(None, TAGS)


def test_headers_of_their_own_are_no_named_tags() -> None:
    assert named(TAGS) == {"experiment": "b", "tier": "gold"}
