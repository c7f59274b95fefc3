"""What model calls consume adds up, and an unknown price stays unknown."""

from __future__ import annotations

from dataclasses import replace

from quarterdeck.core.usage import Usage

_ONE = Usage(prompt_tokens=10, completion_tokens=5, cost_usd=0.25, seconds=1.5, cached_tokens=4, reasoning_tokens=2)


def test_every_field_of_two_calls_is_added() -> None:
    assert (
        Usage(prompt_tokens=20, completion_tokens=10, cost_usd=0.5, seconds=3.0, cached_tokens=8, reasoning_tokens=4)
        == _ONE + _ONE
    )
    assert (_ONE + _ONE).total_tokens == 30
    assert Usage() + _ONE == _ONE


def test_an_unknown_price_is_not_free() -> None:
    assert (_ONE + replace(_ONE, cost_usd=None)).cost_usd is None
    assert (replace(_ONE, cost_usd=None) + _ONE).cost_usd is None


def test_one_estimate_makes_the_sum_an_estimate() -> None:
    assert (_ONE + replace(_ONE, estimated=True)).estimated
