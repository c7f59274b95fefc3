"""Settling an answer: its form, its sources, how far it is supported, and whether a person should look at it.

Rules (row R11): every source is a passage this run really retrieved; a cited sentence is supported by its passage; without
sources confidence is never high; a proposed write that nobody decided needs a person. What breaks a rule goes back to the
model with the reason, a bounded number of times; after that the offending part is removed and a person is asked to look.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quarterdeck.agent.confidence import Evidence, Judged, claimed_by, evidence_of, judge, without_claim
from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.messages import Role
from quarterdeck.core.runs import AgentSpec, StopReason
from quarterdeck.knowledge.cite import Cited, resolve, without

__all__ = ["ReadOutput", "Settled", "partial", "settle", "unfenced"]

ReadOutput = Callable[
    [str], Any
]  # text of the model -> JSON value of the declared output type; ValueError says what is wrong

_FENCE = re.compile(r"```[A-Za-z]*\s*\n(.*?)\n?\s*```", re.DOTALL)
_NOTHING = frozenset(("", "[]", "{}", "null"))  # what a tool gives that found nothing


def unfenced(text: str) -> str:
    """What stands inside a Markdown code fence, or the whole text where there is none."""
    fenced = _FENCE.search(text)
    return (fenced.group(1) if fenced else text).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An answer and what is wrong with it.

    Attributes:
        answer: With everything that breaks a rule already removed.
        output: Value of the declared output type as JSON, None for plain text.
        problems: In words for the model; empty when the answer stands as it was given.
        fatal: The answer cannot be given even with parts removed: it is empty or not of the declared type.
    """

    answer: Answer
    output: Any = None
    problems: tuple[str, ...] = ()
    fatal: bool = False


def settle(state: RunState, spec: AgentSpec, read_output: ReadOutput | None = None) -> Settled:
    """Check the newest reply of the model against the rules."""
    text = state.messages[-1].text.strip()
    if spec.output_schema is not None and read_output is not None:
        return _typed(state, text, read_output)
    text, claimed = without_claim(text)
    cited = _resolved(text, state)
    problems = _problems(cited, state)
    if not text:
        problems = ("The answer was empty.",)
    if state.finish_reason == "length":
        problems = (*problems, "The answer was cut off; answer more briefly.")
    answer = _answer(state, without(cited, cited.unsupported), cited, problems, claimed)
    return Settled(answer=answer, problems=problems, fatal=not answer.text)


def _typed(state: RunState, text: str, read_output: ReadOutput) -> Settled:
    made = tuple(call.name for call in state.made)
    try:
        output = read_output(text)
    except ValueError as error:
        problem = f"The answer is not of the declared type: {error}"
        judged = judge(Evidence(told=bool(made), broken=True))
        answer = Answer(
            text=text,
            confidence=judged.level,
            tool_calls=made,
            needs_human_review=True,
            notes=(problem,),
            confidence_score=judged.score,
            reasons=judged.reasons,
        )
        return Settled(answer=answer, problems=(problem,), fatal=True)
    judged = judge(Evidence(told=bool(made), claimed=claimed_by(output)))
    answer = Answer(
        text=text, confidence=judged.level, tool_calls=made, confidence_score=judged.score, reasons=judged.reasons
    )
    return Settled(answer=answer, output=output)


def _resolved(text: str, state: RunState) -> Cited:
    return resolve(text, state.passages, state.checked.verdicts if state.checked else None)


def _problems(cited: Cited, state: RunState) -> tuple[str, ...]:
    found: list[str] = []
    if cited.unknown:
        known = ", ".join(sorted(state.passages)) or "none"
        found.append(f"These sources were not retrieved in this run: {', '.join(cited.unknown)}. Retrieved: {known}.")
    found += [f"The cited passage does not support this sentence: {sentence}" for sentence in cited.unsupported]
    only_searched = all(not call.success or call.name in _searches(state) for call in state.made)
    if state.passages and only_searched and not cited.sources and cited.uncited:
        found.append("The answer cites none of the passages it was given. Cite them, or say that they do not answer it.")
    return tuple(found)


def _searches(state: RunState) -> set[str]:
    return {result.name for result in state.results if result.passages}


def _answer(state: RunState, text: str, cited: Cited, problems: Sequence[str], claimed: float | None = None) -> Answer:
    dropped = set(cited.unsupported)
    citations = tuple(citation for citation in cited.citations if citation.sentence not in dropped)
    kept = {citation.passage.id for citation in citations}
    undecided = tuple(state.drafts)
    judged = _judged(state, cited, problems, claimed)
    return Answer(
        text=text,
        confidence=judged.level,
        sources=tuple(source for source in cited.sources if source in kept),
        citations=citations,
        tool_calls=tuple(call.name for call in state.made),
        needs_human_review=bool(problems or undecided or _unwatched_write(state)),
        drafts=tuple(call.draft for call in state.made if call.draft is not None) + undecided,
        notes=tuple(problems),
        confidence_score=judged.score,
        reasons=judged.reasons,
    )


def _unwatched_write(state: RunState) -> bool:
    """A write was proposed and refused, expired or failed: somebody expected it to happen."""
    return any(call.draft is not None and not call.success for call in state.made)


def _judged(state: RunState, cited: Cited, problems: Sequence[str], claimed: float | None) -> Judged:
    evidence = evidence_of(
        cited,
        state.passages,
        state.words[-1] if state.words else "",
        told=[result.text for result in state.results if not result.passages and result.text not in _NOTHING],
        claimed=claimed,
        search_failed=state.search_failed,
        unchecked=state.checked is not None and bool(state.checked.problem),
        broken=bool(problems),
    )
    return judge(evidence)


def reported(state: RunState) -> Answer:
    """What the last call gave, where there is no model to put it in words."""
    told = state.messages[-1].text.strip() if state.made else ""
    answer = _answer(state, told or "Done.", _resolved("", state), ())
    return replace(answer, needs_human_review=not (state.made and state.made[-1].success))


def handing_over(state: RunState) -> Answer:
    """What is said with calls of tools of whoever asked: the model's words beside them, as they are."""
    return Answer(text=state.messages[-1].text.strip() if state.messages else "", confidence=Confidence.LOW)


def partial(state: RunState, reason: StopReason) -> Answer:
    """The best answer there is when a run has to stop: its last words, or what its tools gave; always for review."""
    words = next((m.text.strip() for m in reversed(state.messages) if m.role is Role.ASSISTANT and m.text.strip()), "")
    cited = _resolved(words, state)
    text = without(cited, cited.unsupported)
    note = f"The run stopped early: {reason.value.replace('_', ' ')}."
    if not text:
        gathered = [result.text[:300] for result in state.results[-3:]]
        text = "\n".join((note, *gathered)) if gathered else note
    answer = _answer(state, text, cited, (note,))
    return replace(answer, needs_human_review=True)
