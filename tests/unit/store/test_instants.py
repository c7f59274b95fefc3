"""Instants and their texts."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from quarterdeck.store.instants import from_micros, iso_text, to_micros

YEAR_1, YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999


@given(micros=st.integers(YEAR_1, YEAR_9999))
@example(micros=0)
@example(micros=-1)
@example(micros=1_000_000)
@example(micros=999_999)
def test_the_text_of_an_instant_is_its_iso_format(micros: int) -> None:
    assert iso_text(micros) == from_micros(micros).isoformat()
    assert to_micros(from_micros(micros)) == micros
