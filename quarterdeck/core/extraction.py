"""What may be taken out of an untrusted text: a few values of declared, bounded kinds, and nothing else.

A text that an outsider wrote may say anything; a truth value, a number inside limits, a day between two days and one of few
choices may not. Who chose them can still make them wrong, but cannot say who is to be paid or what is to be done. So these
count as endorsed, up to a capacity; an id and a short text never do: an attacker's account number looks like one too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from quarterdeck.core.errors import InvalidInput, Misconfigured

__all__ = ["LONGEST_TEXT", "MAX_BITS_PER_CALL", "MAX_BITS_PER_RUN", "Extraction", "Slot", "SlotKind"]

MAX_BITS_PER_CALL = 64.0
MAX_BITS_PER_RUN = 256.0
LONGEST_TEXT = 64  # characters; a longer one is a message, not a value
MOST_SLOTS = 32
_FIRST_DAY, _LAST_DAY = "1900-01-01", "2099-12-31"

SlotKind = Literal["boolean", "integer", "number", "date", "choice", "id", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One value of an extraction.

    Attributes:
        minimum, maximum: Of an integer or number, inclusive.
        digits: Behind the point of a number; what is more exact is rounded.
        earliest, latest: Of a date as ``YYYY-MM-DD``, inclusive; of the years 1900 to 2099 if not said.
        one_of: The choices.
        pattern: What the whole of an id must match (RE2).
        max_chars: Of an id or a text.
        description: For the model that looks for it.
    """

    kind: SlotKind
    minimum: float | None = None
    maximum: float | None = None
    digits: int = 2
    earliest: str | None = None
    latest: str | None = None
    one_of: tuple[str, ...] = ()
    pattern: str = ""
    max_chars: int = LONGEST_TEXT
    description: str = ""

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise Misconfigured(problem)

    @property
    def bits(self) -> float | None:
        """How much an outsider can say by its value or its absence; None where that has no bound worth the name."""
        match self.kind:
            case "boolean":
                return math.log2(3)
            case "choice":
                return math.log2(len(self.one_of) + 1)
            case "integer":
                return math.log2(self._span + 2)
            case "number":
                return math.log2(self._span * 10**self.digits + 2)
            case "date":
                first, last = self._days
                return math.log2((date.fromisoformat(last) - date.fromisoformat(first)).days + 2)
        return None

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema for the model; null where the text does not say it."""
        made: dict[str, Any]
        match self.kind:
            case "boolean":
                made = {"type": ["boolean", "null"]}
            case "integer" | "number":
                made = {"type": [self.kind, "null"], "minimum": self.minimum, "maximum": self.maximum}
            case "date":
                made = {"type": ["string", "null"], "format": "date"}
            case "choice":
                made = {"type": ["string", "null"], "enum": [*self.one_of, None]}
            case _:
                made = {"type": ["string", "null"], "maxLength": self.max_chars}
        return made | ({"description": self.description} if self.description else {})

    def read(self, value: Any) -> Any:
        """`value` as it is kept. Raises InvalidInput, without quoting it, for one of another kind or outside the limits.

        The pattern of an id is left to whoever has RE2.
        """
        if value is None:
            return None
        match self.kind:
            case "boolean" if isinstance(value, bool):
                return value
            case "integer" | "number" if isinstance(value, int | float) and not isinstance(value, bool):
                return self._number(value)
            case "date" if isinstance(value, str):
                return self._date(value)
            case "choice" if value in self.one_of:
                return value
            case "id" | "text" if isinstance(value, str) and 0 < len(value) <= self.max_chars and value.isprintable():
                return value
        raise InvalidInput(f"it is no {self.kind} within the limits")

    @property
    def _span(self) -> float:
        return (self.maximum or 0.0) - (self.minimum or 0.0)

    @property
    def _days(self) -> tuple[str, str]:
        return self.earliest or _FIRST_DAY, self.latest or _LAST_DAY

    def _number(self, value: float) -> float:
        # Limits first: infinities and what is no number are outside, and so is an integer too large to be a float.
        if not self._is_inside(value):
            raise InvalidInput("it is outside the limits")
        if self.kind == "integer" and value != int(value):
            raise InvalidInput("it is no integer")
        kept = int(value) if self.kind == "integer" else round(float(value), self.digits)
        if not self._is_inside(kept):
            raise InvalidInput("it is outside the limits")
        return kept

    def _is_inside(self, number: float) -> bool:
        return (self.minimum or 0.0) <= number <= (self.maximum or 0.0)

    def _date(self, value: str) -> str:
        try:
            day = date.fromisoformat(value[:10]).isoformat()
        except ValueError as error:
            raise InvalidInput("it is no date") from error
        first, last = self._days
        if len(value) != len(day) or not first <= day <= last:
            raise InvalidInput("it is no date within the limits")
        return day

    def _problem(self) -> str:
        match self.kind:
            case "integer" | "number":
                if self.minimum is None or self.maximum is None or not self.minimum <= self.maximum:
                    return f"a value that is {_a(self.kind)} needs a minimum and a maximum not below it"
                if not (math.isfinite(self._span) and 0 <= self.digits <= 9):
                    return "the limits of a number are finite, and it has at most 9 digits behind the point"
            case "date":
                try:
                    written = tuple(date.fromisoformat(day).isoformat() for day in self._days)
                except ValueError:
                    written = ()
                if written != self._days:  # weeks and days without dashes are dates too, but compare otherwise
                    return "earliest and latest are written YYYY-MM-DD"
                if written[1] < written[0]:
                    return "the latest day is before the earliest"
            case "choice":
                if not 1 <= len(set(self.one_of)) == len(self.one_of) <= 1000:
                    return "a value that is a choice needs 1 to 1000 different ones"
            case "id" if not self.pattern:
                return "a value that is an id needs a pattern"
        if self.kind in ("id", "text") and not 1 <= self.max_chars <= LONGEST_TEXT:
            return f"a text that is taken out has at most {LONGEST_TEXT} characters"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What is taken out of a text, by name.

    Attributes:
        question: What the model that reads the text is asked, beside the descriptions; empty for those alone.
    """

    slots: Mapping[str, Slot] = field(default_factory=dict)
    question: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.slots) <= MOST_SLOTS:
            raise Misconfigured(f"an extraction has 1 to {MOST_SLOTS} values")

    @property
    def bits(self) -> float:
        """How much an outsider can say by what is endorsed of it."""
        return sum(bits for slot in self.slots.values() if (bits := slot.bits) is not None)

    @property
    def free(self) -> tuple[str, ...]:
        """The values that stay untrusted whatever is found."""
        return tuple(name for name, slot in self.slots.items() if slot.bits is None)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the object the model answers with."""
        return {
            "type": "object",
            "properties": {name: slot.schema for name, slot in self.slots.items()},
            "required": list(self.slots),
            "additionalProperties": False,
        }

    def endorses(self, value: Mapping[str, Any], spent_bits: float) -> bool:
        """True if all that was found in `value` is of bounded kinds, and the capacity of the call and the run suffices.

        Args:
            spent_bits: By earlier extractions of the run.
        """
        free = any(value.get(name) is not None for name in self.free)
        return not free and self.bits <= MAX_BITS_PER_CALL and spent_bits + self.bits <= MAX_BITS_PER_RUN


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "ai" else f"a {kind}"
