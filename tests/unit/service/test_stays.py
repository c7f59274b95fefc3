"""A stream ends when who opened it may read no longer, and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import StoreUnavailable, Unauthenticated
from quarterdeck.service.stays import Stay, Stays

pytestmark = pytest.mark.row("S9", part="open streams")

ANN = Principal(user="ann", tenant="acme", scopes=("chat",))


class Scene:
    """A clock that goes on when somebody sleeps, and a directory that says what `knows` says of that moment."""

    def __init__(self, knows: Callable[[float], Principal | None]) -> None:
        self.at = self.began = datetime(2026, 5, 1, tzinfo=UTC)
        self._knows = knows

    @property
    def passed_s(self) -> float:
        return (self.at - self.began).total_seconds()

    async def current(self, principal: Principal) -> Principal | None:
        return self._knows(self.passed_s)

    async def ends(self, principal: Principal) -> datetime | None:
        return None

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def stays(self) -> Stays:
        return Stays(self, every_s=15, now=lambda: self.at, sleep=self.sleep)


async def test_stay_is_over_at_the_next_look_once_a_right_is_taken_away() -> None:
    scene = Scene(lambda passed_s: ANN if passed_s < 100 else None)

    said = await scene.stays().over(Stay(principal=ANN))

    assert "may not act" in said
    assert scene.passed_s == 105


async def test_stay_is_over_once_who_opened_it_has_lost_a_group_and_not_when_he_gains_one() -> None:
    gained, began = replace(ANN, groups=("hr", "it")), replace(ANN, groups=("hr",))
    scene = Scene(lambda passed_s: gained if passed_s < 100 else ANN)

    said = await scene.stays().over(Stay(principal=began))

    assert "no more one of group:hr" in said
    assert scene.passed_s == 105


async def test_stay_is_over_once_who_opened_it_has_lost_the_scope_it_needs_and_not_for_another() -> None:
    began = replace(ANN, scopes=("chat", "operate"))
    scene = Scene(lambda passed_s: ANN if passed_s < 100 else replace(ANN, scopes=("operate",)))

    said = await scene.stays().over(Stay(principal=began, needs=frozenset({"chat"})))

    assert "no more the scope chat" in said
    assert scene.passed_s == 105


async def test_stay_is_over_when_what_let_somebody_in_is() -> None:
    scene = Scene(lambda passed_s: ANN)

    said = await scene.stays().over(Stay(principal=ANN, until=scene.began + timedelta(seconds=40)))

    assert "is over" in said
    assert scene.passed_s == 40


async def test_database_that_is_away_for_a_moment_ends_nobodys_stream() -> None:
    def knows(passed_s: float) -> Principal | None:
        if passed_s < 50:
            raise StoreUnavailable("away")
        return None

    scene = Scene(knows)

    await scene.stays().over(Stay(principal=ANN))

    assert scene.passed_s == 60


async def test_look_tells_who_may_listen_no_longer() -> None:
    scene = Scene(lambda passed_s: None)

    with pytest.raises(Unauthenticated):
        await scene.stays().confirm(Stay(principal=ANN))
