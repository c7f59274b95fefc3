"""How long a model takes: until its first token, and from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from pydantic import with_config

from quarterdeck.core.errors import InvalidInput
from quarterdeck.devtools.simulator.exchange import Act, Answer, Pause
from quarterdeck.devtools.simulator.seeds import Dice
from quarterdeck.devtools.simulator.strict import STRICT

__all__ = ["Timing", "timed"]


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Attributes:
    ttft_s: Seconds until the first token.
    tokens_per_s: Speed after it; None for no delay.
    jitter: Each delay is longer or shorter by at most this part of it, 0 to 1, as the seed decides.
    """

    ttft_s: float = 0.0
    tokens_per_s: float | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.ttft_s < inf
            or not 0 <= self.jitter <= 1
            or (self.tokens_per_s is not None and not self.tokens_per_s > 0)
        ):
            raise InvalidInput(f"no such timing: {self}; ttft_s is at least 0, tokens_per_s above 0, jitter within 0 and 1")

    @property
    def is_instant(self) -> bool:
        return not self.ttft_s and self.tokens_per_s is None

    def with_words(self, words: dict[str, Any]) -> Timing:
        """This timing with some of its values replaced, given by name as text or numbers."""
        try:
            return replace(self, **{name: float(value) for name, value in words.items()})
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"no such timing: {words}; give ttft_s, tokens_per_s, jitter") from error


def timed(answer: Answer, timing: Timing, dice: Dice) -> Sequence[Act]:
    """The acts of `answer` with the pauses of a model that speaks. Nothing is put before a break."""
    if timing.is_instant:
        return answer.acts
    if not answer.streamed:
        said = answer.tokens / timing.tokens_per_s if timing.tokens_per_s else 0.0
        return (Pause(_about(timing.ttft_s + said, timing, dice)), *answer.acts)
    acts: list[Act] = []
    first = True
    for act in answer.acts:
        if isinstance(act, bytes):
            seconds = timing.ttft_s if first else 1 / timing.tokens_per_s if timing.tokens_per_s else 0.0
            first = False
            if seconds:
                acts.append(Pause(_about(seconds, timing, dice)))
        acts.append(act)
    return acts


def _about(seconds: float, timing: Timing, dice: Dice) -> float:
    return seconds * (1 + timing.jitter * dice.random.uniform(-1, 1)) if timing.jitter else seconds
