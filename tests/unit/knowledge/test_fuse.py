from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.knowledge.fuse import fuse

RANKING = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)
RANKINGS = st.lists(RANKING, min_size=1, max_size=4)


@given(RANKINGS, st.integers(0, 100))
def test_every_id_is_ranked_once_best_first_within_the_bound(rankings: list[list[str]], k: int) -> None:
    fused = fuse(rankings, k=k)

    scores = [score for _, score in fused]
    assert {name for name, _ in fused} == {name for ranking in rankings for name in ranking}
    assert len(fused) == len({name for name, _ in fused})
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= len(rankings) / (k + 1) + 1e-12 for score in scores)


@given(RANKING, st.integers(0, 100), st.floats(0.01, 100))
def test_one_ranking_keeps_its_order_whatever_its_weight(ranking: list[str], k: int, weight: float) -> None:
    assert [name for name, _ in fuse([ranking], weights=[weight], k=k)] == ranking


@given(RANKINGS, RANKING)
def test_another_ranking_lowers_no_score_and_raises_only_its_own(rankings: list[list[str]], more: list[str]) -> None:
    before, after = dict(fuse(rankings)), dict(fuse([*rankings, more]))

    assert {name: after[name] for name in before if name not in more} == {
        name: score for name, score in before.items() if name not in more
    }
    assert all(after[name] > before.get(name, 0.0) for name in more)


@given(st.lists(RANKING, min_size=2, max_size=2))
def test_a_ranking_of_weight_zero_decides_nothing_among_those_of_the_other(rankings: list[list[str]]) -> None:
    fused = [name for name, _ in fuse(rankings, weights=[1, 0])]

    assert fused[: len(rankings[0])] == rankings[0]


def test_what_stands_well_in_both_beats_what_is_first_in_one() -> None:
    assert fuse([["a", "b", "c"], ["d", "b", "e"]])[0][0] == "b"


def test_each_ranking_needs_its_weight() -> None:
    with pytest.raises(ValueError, match="zip"):
        fuse([["a"], ["b"]], weights=[1.0])
