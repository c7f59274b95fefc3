"""What nearness is worth, by model."""

from __future__ import annotations

import pytest

from quarterdeck.knowledge.calibration import Added, Stronger


@pytest.mark.parametrize(
    ("words", "apart", "whole"),
    [
        (0.6, None, 0.6),  # none of the nearest: its words are all there is
        (0.6, 0.0, 0.3),  # meaning does not stand out
        (0.6, 3.0, 0.6),
        (0.1, 5.0, 0.5),
        (0.1, 30.0, 1.0),
    ],
)
def test_the_stronger_of_words_and_meaning_counts(words: float, apart: float | None, whole: float) -> None:
    assert Stronger(full=10.0, chance=2.0).whole(words, apart) == pytest.approx(whole)


@pytest.mark.row("K9", part="added")
@pytest.mark.parametrize(
    ("words", "apart", "whole"),
    [
        (0.6, None, 0.3),
        (0.6, 0.0, 0.3),
        (0.6, 4.0, 0.5),  # both together reach what neither does
        (0.0, 4.0, 0.2),
        (0.1, -5.0, 0.0),
        (1.0, 30.0, 1.0),
    ],
)
def test_words_and_meaning_are_added_up(words: float, apart: float | None, whole: float) -> None:
    assert Added(deviation=0.1, share=0.5).whole(words, apart) == pytest.approx(whole)
