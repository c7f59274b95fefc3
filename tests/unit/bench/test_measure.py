"""Figures beside a reference."""

from __future__ import annotations

import pytest

from bench import measure
from bench.measure import Work, paired, relative


async def test_pairs_take_turns_and_their_ratio_is_the_middle_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    times = iter([11.0, 10.0, 200.0, 260.0, 36.0, 30.0])  # the machine is slow in between

    def work(name: str) -> Work:
        async def one() -> None:
            done.append(name)

        return one

    async def cpu_ms(work: Work) -> float:
        await work()
        return next(times)

    monkeypatch.setattr(measure, "cpu_ms", cpu_ms)
    theirs, ours, ratio = await paired(work("theirs"), work("ours"), repetitions=3)
    told = relative("x", ours, "ms", reference=theirs, ratio=ratio, budget=1.15)

    assert done == ["theirs", "ours", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (theirs, ours, ratio) == (30.0, 36.0, 1.2)
    assert (told.ratio, told.holds) == (1.2, False)


def test_without_pairs_the_ratio_is_that_of_the_two_figures() -> None:
    told = relative("x", 3.0, "ms", reference=2.0, budget=1.4)

    assert (told.ratio, told.holds) == (1.5, False)
