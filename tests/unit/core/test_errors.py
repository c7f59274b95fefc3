"""One tree of errors: every class has a code of its own, by which a recorded failure becomes an error again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from quarterdeck.core import errors
from quarterdeck.core.errors import QuarterdeckError, RateLimited, Unavailable, error_of


def tree(kind: type[QuarterdeckError]) -> Iterator[type[QuarterdeckError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


KINDS = list(tree(QuarterdeckError))


def test_codes_are_unique_and_every_class_is_exported_and_drawn() -> None:
    drawn = re.findall(r"^\s*[│├└─ ]*\s*([A-Z]\w+) {2,}\S", errors.__doc__ or "", re.MULTILINE)

    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS)
    assert {kind.__name__ for kind in KINDS} <= set(errors.__all__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_recorded_code_becomes_an_error_of_its_class(kind: type[QuarterdeckError]) -> None:
    error = error_of(kind.code, "what happened")

    assert type(error) is kind
    assert str(error) == "what happened"


def test_an_unknown_code_becomes_the_root() -> None:
    assert type(error_of("from_the_future", "x")) is QuarterdeckError


def test_only_what_may_pass_is_retryable() -> None:
    assert {kind for kind in KINDS if kind.retryable} == {*tree(Unavailable), RateLimited}
