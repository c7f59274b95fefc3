"""Server-sent events from bytes cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import ModelInvalid
from quarterdeck.models.sse import EventStream


def read(*chunks: bytes) -> list[bytes]:
    stream = EventStream()
    events = [event for chunk in chunks for event in stream.feed(chunk)]
    return events + stream.close()


@pytest.mark.row("R3")
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["data:", "data: "]),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_the_cuts_do_not_matter(texts: list[str], end: str, prefix: str, cuts: list[int]) -> None:
    texts = [text.strip() or "x" for text in texts]
    body = "".join(f": ping{end}event: delta{end}{prefix}{text}{end}{end}" for text in texts).encode()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})

    events = read(*(body[start:stop] for start, stop in pairwise(places)))

    assert events == [text.encode() for text in texts]


def test_lines_of_one_event_are_joined() -> None:
    assert read(b"data: one\ndata: two\n\n") == [b"one\ntwo"]


def test_the_last_event_needs_no_blank_line() -> None:
    assert read(b"data: one\n\ndata: [DONE]") == [b"one", b"[DONE]"]


def test_comments_names_and_ids_are_dropped() -> None:
    assert read(b": keep alive\n\nid: 7\nevent: x\nretry: 10\n\n") == []


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="does not end"):
        read(*[b"data: " + b"x" * 65_536] * 200)


def test_comments_are_not_what_a_stream_says() -> None:
    stream = EventStream()

    stream.feed(b": ping\n\n: pi")
    stream.feed(b"ng")
    silent = stream.received
    stream.feed(b"\n\ndata: a")

    assert (silent, stream.received > 0) == (0, True)
