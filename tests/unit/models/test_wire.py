"""JSON, errors and headers as providers send them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.models import wire
from quarterdeck.models.wire import decode, encode, retry_after_s, shortened


@pytest.fixture(params=["orjson", "without"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With orjson and, as the library install is, without."""
    if request.param == "without":
        monkeypatch.setattr(wire, "orjson", None)


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True, "世界 😀"]}, [], "text", MappingProxyType({"deep": MappingProxyType({})}), 10**30]
)
def test_values_survive_both_ways(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "NaN", "[Infinity]", "[1e999]", "[" * 5000 + "]" * 5000, '"\\u12"'])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expect|double quotes|no JSON|finite|deep|escape"):
        decode(text)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(b'"\xff\\u0041"')


@pytest.mark.usefixtures("writer")
def test_lone_surrogates_are_mended() -> None:
    assert decode('["\\ud83d", "\\ud83d\\ude00", "\\udc00x"]') == ["\ufffd", "😀", "\ufffdx"]
    assert decode(encode({"a": "\ud83d"})) == {"a": "?"}


def test_what_is_no_json_value_is_refused() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})


@pytest.mark.row("R2")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"retry-after-ms": "1500", "Retry-After": "60"}, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "60"}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:50 GMT"}, 10.0),
        ({"Retry-After": "Wed, 21 Oct 2020 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "tomorrow"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
    ],
)
def test_how_long_a_provider_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=datetime(2026, 10, 21, 7, 27, 30, tzinfo=UTC)) == seconds


@given(st.text())
def test_a_shortened_text_is_one_printable_line(text: str) -> None:
    short = shortened(text, limit=50)

    assert len(short) <= 50
    assert short == "" or short.isprintable()


@pytest.mark.parametrize("secret", ["sk-proj-abc123_def", "Bearer abc.def", "eyJhbGciOi.eyJzdWIiOi.c2ln", "hunter2"])
def test_what_looks_like_a_credential_is_removed(secret: str) -> None:
    assert secret not in shortened(f"the key {secret} is wrong", "hunter2")
