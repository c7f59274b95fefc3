"""What is asked, what came back, and who asks: the values and protocols of an evaluation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Asker", "Case", "Check", "Expected", "Outcome", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an answer must say. What is None or empty is not asked for.

    Attributes:
        exact: The whole answer, whatever its white space.
        contains: Each of these, whatever its case and white space.
        regex: A pattern that is found in the answer; linear-time syntax, without look-around and back-references.
        json: The value the answer must hold, as JSON: of objects the given keys, of lists every item.
    """

    exact: str | None = None
    contains: tuple[str, ...] = ()
    regex: str | None = None
    json: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question and what is asked of its answer.

    Attributes:
        user: Who asks, by id; None for the caller without a key.
        role: Instead of `user`: whoever holds this role, the first of the people.
        agent: Whom to ask, None for the default agent.
        expected_sources: Ids of documents or passages that must be cited.
        must_cite: Every claim cites a passage that supports it.
        must_refuse: The answer must say that it gives none, and cite and propose nothing.
        must_admit: It must say that it has no answer to a part of the question.
        forbidden: Texts that must not be in the answer: what the asker may not read.
        expected_tools: Tools that must be called, a name as often as it stands here.
        tools_in_order: In the order given; other calls may lie between.
        rubric: What a model that grades must find true of the answer.
    """

    id: str
    input: str
    user: str | None = None
    role: str | None = None
    agent: str | None = None
    expected: Expected = field(default_factory=Expected)
    expected_sources: tuple[str, ...] = ()
    must_cite: bool = False
    must_refuse: bool = False
    must_admit: bool = False
    forbidden: tuple[str, ...] = ()
    expected_tools: tuple[str, ...] = ()
    tools_in_order: bool = False
    forbidden_tools: tuple[str, ...] = ()
    max_latency_ms: float | None = None
    max_cost_usd: float | None = None
    rubric: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A passage the answer cites.

    Attributes:
        closed: The asker may not read it, so that citing it is a leak.
    """

    id: str
    document: str
    title: str
    text: str
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back.

    Attributes:
        answer: ``[1]`` refers to the first of `sources`.
        output: Value of the agent's declared answer type, None for text.
        tools: Names of the tools called, in order; those that wait for a person included.
        drafts: How many writes wait for a person.
        stop_reason: Why the run stopped, as clients are told.
        confidence, confidence_score: Level and 0 to 1, as clients are told; empty and None where they are not.
        latency_ms: From the run's start to its last event.
        cost_usd: None when a model had no known price.
        model: That really answered.
    """

    answer: str
    output: Any = None
    sources: tuple[Source, ...] = ()
    tools: tuple[str, ...] = ()
    drafts: int = 0
    stop_reason: str = "completed"
    confidence: str = ""
    confidence_score: float | None = None
    latency_ms: float = 0.0
    cost_usd: float | None = 0.0
    model: str = ""
    run_id: str = ""


Check = Callable[[Case, Outcome], "Sequence[str] | Awaitable[Sequence[str] | None] | None"]
"""Tells the faults of an outcome, one sentence each: none when it passes, None when the case asks nothing of this check."""


class Asker(Protocol):
    """Asks the questions of cases: of a runtime in this process, or of a server."""

    async def ask(self, case: Case) -> Outcome:
        """Ask as the case's user and wait for the end, or until a person is waited for.

        Raises:
            QuarterdeckError: There is nobody of that name, the run failed, or it did not end in time.
        """
        ...
