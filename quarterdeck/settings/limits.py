"""The ``limits`` section: how often callers may ask, and how many runs are taken at once."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from quarterdeck.settings.sections import Seconds, Section, Words

__all__ = ["DeterministicSettings", "LimitRuleFile", "LimitSettings", "LoadSettings"]

_LONGEST_WINDOW = 100_000  # of which each time is remembered


class LimitRuleFile(Section):
    """How often something may be asked."""

    scope: Literal["user", "key", "tenant", "route", "tool"] = Field(
        description="What is counted: requests of a user, with an API key (of who came otherwise: of a user), of a tenant, "
        "to a route (/chat, agent.AgentService/Query); calls of a tool."
    )
    names: Words = Field(
        (),
        description="Users, ids of API keys, tenants, routes or tools it is for. Empty: each that no other rule of the "
        "scope names.",
    )
    by: Literal["user", "key", "tenant"] = Field("user", description="Whose are counted together, of a route or a tool.")
    rate: int = Field(ge=1, le=1_000_000, description="Times in `window_s`.")
    window_s: Seconds = Field(60.0, description="Seconds. Without `burst` no window, wherever it begins, holds more.")
    burst: int | None = Field(
        None, ge=1, le=1_000_000, description="A bucket of that size instead, which gains `rate` in `window_s`."
    )

    @model_validator(mode="after")
    def _can_be_remembered(self) -> Self:
        if self.burst is None and self.rate > _LONGEST_WINDOW:
            raise ValueError(f"rate: more than {_LONGEST_WINDOW} times in a window need a burst")
        return self


class LoadSettings(Section):
    """How many runs one process takes before it sends callers away, to come back."""

    max_runs: int = Field(
        1000, ge=1, le=100_000, description="Runs of this process that are accepted and neither ended nor waiting, at most."
    )
    min_runs: int | None = Field(
        None, ge=1, le=100_000, description="As few as `adaptive` may make that; None for twice worker.concurrency."
    )
    adaptive: bool = Field(True, description="Take fewer while runs take longer than they do without a crowd.")
    tolerance: float = Field(1.5, ge=1.0, le=100, description="How many times longer that may be.")
    newest_first_s: Seconds | None = Field(
        2.0,
        description="Once the oldest run that waits here for a worker has waited so long, the newest go first, and one in "
        "eight still is the oldest; None for always in their order. For runs of one tenant and lane, in one process.",
    )
    batch_share: float = Field(0.7, gt=0, le=1, description="Of the places, at which batches are sent away.")
    eval_share: float = Field(0.5, gt=0, le=1, description="Of the places, at which evaluations are sent away.")


class DeterministicSettings(Section):
    """Tools that only compute: no model, no network, no disk. They are quick or given up, and wait behind no other tool."""

    tools: Words = Field((), description="Their names. Only reads: a write that is cut would be in doubt.")
    deadline_s: Seconds = Field(
        0.05, le=30, description="Seconds a call may take, waiting for a place included; then it ends as a time-out."
    )
    places: int = Field(8, ge=1, le=128, description="Threads that only they use.")


class LimitSettings(Section):
    """How often callers may ask, and how many runs are taken at once."""

    rules: tuple[LimitRuleFile, ...] = Field((), description="Rate limits; several may hold for one request.")
    replicas: int = Field(
        1, ge=1, le=10_000, description="Servers that count together in Redis: while it is away each allows its part."
    )
    load: LoadSettings = Field(default_factory=LoadSettings)
    deterministic: DeterministicSettings = Field(default_factory=DeterministicSettings)
