"""Labels join: whatever is combined, in whatever order, the result is as bad as the worst and as closed as all together."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.context import Principal
from quarterdeck.core.labels import MANY, MAX_SOURCES, NOBODY, PUBLIC, Integrity, Label, Readers, join_all

NAMES = ["user:anna", "user:bob", "group:hr", "group:it", "tenant:acme"]

readers = st.lists(st.sets(st.sampled_from(NAMES), max_size=3), max_size=3).map(
    lambda clauses: PUBLIC.meet(PUBLIC) if not clauses else met([Readers.of(*clause) for clause in clauses])
)
sources = st.sets(st.integers(0, 120), max_size=MAX_SOURCES).map(
    lambda ids: tuple(sorted(f"m{number:03}" for number in ids))
)
labels = st.builds(Label, integrity=st.sampled_from(Integrity), readers=readers, sources=sources | st.just(MANY))
people = st.sets(st.sampled_from(NAMES))


def met(parts: list[Readers]) -> Readers:
    result = PUBLIC
    for part in parts:
        result = result.meet(part)
    return result


@given(labels, labels, labels)
def test_join_is_associative(one: Label, two: Label, three: Label) -> None:
    assert one.join(two).join(three) == one.join(two.join(three))


@given(labels, labels)
def test_join_is_commutative(one: Label, two: Label) -> None:
    assert one.join(two) == two.join(one)


@given(labels, labels)
def test_join_is_idempotent(one: Label, two: Label) -> None:
    assert one.join(one) == one
    assert one.join(two).join(two) == one.join(two)


@given(labels)
def test_the_join_of_nothing_changes_nothing(label: Label) -> None:
    assert join_all([]).join(label) == label == label.join(join_all([]))


@given(labels, labels, people)
def test_a_join_admits_whoever_both_admit_and_is_trusted_as_the_worse_of_both(
    one: Label, two: Label, names: set[str]
) -> None:
    both = one.join(two)

    assert both.readers.admits(names) == (one.readers.admits(names) and two.readers.admits(names))
    assert both.integrity == max(one.integrity, two.integrity)
    assert both.sources == MANY or set(both.sources) == {*one.sources, *two.sources}


@given(readers)
def test_equal_demands_on_readers_have_equal_bytes(demands: Readers) -> None:
    assert demands == met([Readers.of(*reversed(clause)) for clause in reversed(demands.clauses)])
    assert not any(set(less) < set(more) or set(more) < set(less) for less, more in combinations(demands.clauses, 2))


def test_readers_of_two_documents_must_meet_both_demands() -> None:
    both = Readers.of("group:hr").meet(Readers.of("user:anna"))
    anna = Principal(user="anna", tenant="acme", groups=("hr",))
    bert = Principal(user="bert", tenant="acme", groups=("hr",))

    assert both.admits(anna.names)
    assert not both.admits(bert.names)


@pytest.mark.parametrize(("demands", "admitted"), [(PUBLIC, True), (NOBODY, False), (Readers.of(), False)])
def test_public_admits_everybody_and_nobody_admits_none(demands: Readers, admitted: bool) -> None:
    assert demands.admits(NAMES) is admitted
    assert demands.admits([]) is admitted


def test_a_group_spelled_like_a_user_is_not_that_user() -> None:
    impostor = Principal(user="eve", tenant="acme", groups=("user:anna", "tenant:other"))

    assert not Readers.of("user:anna").admits(impostor.names)
    assert not Readers.of("tenant:other").admits(impostor.names)


def test_very_many_sources_become_many() -> None:
    one, two = (
        Label(readers=PUBLIC, sources=tuple(f"{kind}{number:02}" for number in range(40))) for kind in ("passage-", "call-")
    )

    assert one.join(two).sources == MANY
    assert one.join(two).join(one).sources == MANY
