from __future__ import annotations

import anyio
import pytest

from quarterdeck.core.errors import DeadlineExceeded
from quarterdeck.evals.base import Case, Outcome, Source
from quarterdeck.evals.runner import Trial, run


class Scripted:
    """An `Asker` that answers with the question in capitals, except where its script says otherwise."""

    def __init__(self, *failing: str, flaky: str = "") -> None:
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self._failing = failing
        self._flaky = flaky

    async def ask(self, case: Case) -> Outcome:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.asked.append(case.id)
        await anyio.sleep(0)
        self.at_once -= 1
        if case.id in self._failing:
            raise DeadlineExceeded(f"{case.id} took too long")
        answer = "wrong" if case.id == self._flaky and self.asked.count(case.id) == 2 else case.input.upper()
        source = Source(id="s-1", document="s", title="S", text="S")
        return Outcome(answer=answer, sources=(source,), tools=("t",), latency_ms=8, model="m", run_id="r")


def shouted(case: Case, outcome: Outcome) -> list[str] | None:
    if case.id == "broken":
        raise KeyError("nobody expected this")
    return [] if outcome.answer.isupper() else ["is not in capitals"]


def cases(*names: str) -> list[Case]:
    return [Case(id=name, input=f"q {name}") for name in names]


@pytest.mark.row("E1", part="every case")
async def test_every_case_ends_whatever_fails() -> None:
    done: list[tuple[str, str]] = []

    def on_done(case: Case, trial: Trial) -> None:
        done.append((case.id, trial.status))

    results = await run(cases("a", "late", "broken", "z"), Scripted("late"), {"shouted": shouted}, on_done=on_done)

    assert [(one.id, one.status) for one in results] == [
        ("a", "passed"),
        ("late", "error"),
        ("broken", "error"),
        ("z", "passed"),
    ]
    assert sorted(done) == sorted((one.id, one.status) for one in results)
    assert results[1].trials[0].faults == ("late took too long",)
    assert results[2].trials[0].faults == ("the check shouted broke: KeyError: 'nobody expected this'",)
    assert results[2].trials[0].answer == "Q BROKEN"
    assert (results[0].trials[0].sources, results[0].trials[0].tools, results[0].latency_ms) == (("s-1",), ("t",), 8)


@pytest.mark.row("E1", part="every case")
async def test_no_more_questions_are_asked_at_once_than_allowed() -> None:
    asker = Scripted()

    await run(cases(*"abcdefgh"), asker, {}, parallel=3)

    assert asker.most_at_once == 3
    assert sorted(asker.asked) == list("abcdefgh")


@pytest.mark.row("E1", part="repeats")
async def test_a_case_passes_only_if_every_repetition_does() -> None:
    steady, flaky = await run(cases("steady", "flaky"), Scripted(flaky="flaky"), {"shouted": shouted}, repeat=4, parallel=1)

    assert (steady.status, steady.share) == ("passed", 1.0)
    assert (flaky.status, flaky.share) == ("failed", 0.75)
    assert [trial.faults for trial in flaky.trials] == [(), ("shouted: is not in capitals",), (), ()]


async def test_checks_may_wait_and_those_that_do_not_concern_a_case_leave_no_trace() -> None:
    async def slow(case: Case, outcome: Outcome) -> list[str]:
        await anyio.sleep(0)
        return ["too slow"]

    (result,) = await run(cases("a"), Scripted(), {"slow": slow, "silent": lambda case, outcome: None})

    assert result.trials[0].checks == {"slow": ("too slow",)}
