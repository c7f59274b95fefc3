"""Patterns clients send in their schemas: none of them costs more than it says."""

from __future__ import annotations

import time

import pytest

from quarterdeck.devtools.simulator.patterns import matches
from tests.unit.devtools.simulator.asking import chat, send, simulator


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[A-Z]{2}$", "AB", True),
        ("^[A-Z]{2}$", "ABC", False),
        ("b", "abc", True),
        (r"^\d+$", "12a", False),
        ("^(?=a)", "not checked", True),
        ("(", "not checked", True),
    ],
)
def test_a_pattern_is_searched_for(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


def test_a_pattern_made_to_be_slow_is_not() -> None:
    started = time.process_time()

    assert not matches("^(a+)+$", "a" * 10_000 + "b")

    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("pattern", ["a{1000000000}", "((a{1000}){1000}){1000}"])
async def test_a_pattern_no_short_text_fits_is_refused(pattern: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}
    asked = chat("x", tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}], model="sim-every-tool")

    heard = await send(simulator(), "/v1/chat/completions", asked)

    assert heard.status == 500
    assert "longer than" in heard.error["message"]
