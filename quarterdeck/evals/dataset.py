"""Data sets: one case a line, as JSON. Every mistake of a file is told at once, with its line."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import SchemaError

from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.base import Case, Expected

__all__ = ["SMOKE", "handful", "pattern", "read_cases", "with_tags", "without_rubrics"]

SMOKE = 5  # cases of a quick look


def pattern(text: str) -> TypeAdapter[str]:
    """Validates texts in which the pattern is found, in linear time. Raises ValueError for what is no pattern."""
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=text)])
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{text!r} is no pattern: {reason}") from error


def _compiles(text: str) -> str:
    pattern(text)
    return text


def _spelled_out(value: object) -> object:
    """A text or a list of texts stands for what must be contained."""
    if isinstance(value, str):
        return {"contains": [value]}
    return {"contains": value} if isinstance(value, list) else value


_Text = Annotated[str, StringConstraints(strict=True, min_length=1)]
_Texts = tuple[_Text, ...]


class _Expected(BaseModel):
    model_config = ConfigDict(extra="forbid")  # texts are strict; a list stands for a tuple

    exact: _Text | None = None
    contains: _Texts = ()
    regex: Annotated[_Text, AfterValidator(_compiles)] | None = None
    json_: Any = Field(None, alias="json")


class _Line(BaseModel):
    """A line as it is written; nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    input: _Text
    user: _Text | None = None
    role: _Text | None = None
    agent: _Text | None = None
    expected: Annotated[_Expected, BeforeValidator(_spelled_out)] = Field(default_factory=_Expected)
    expected_sources: _Texts = ()
    must_cite: bool = False
    must_refuse: bool = False
    must_admit: bool = False
    forbidden: _Texts = ()
    expected_tools: _Texts = ()
    tools_in_order: bool = False
    forbidden_tools: _Texts = ()
    max_latency_ms: float | None = Field(None, gt=0)
    max_cost_usd: float | None = Field(None, ge=0)
    rubric: _Text | None = None
    tags: _Texts = ()

    def contradictions(self) -> list[str]:
        found = []
        if self.user is not None and self.role is not None:
            found.append("user, role: only one of them says who asks")
        if self.must_refuse and (self.must_cite or self.expected_sources or self.expected != _Expected()):
            found.append("must_refuse: an answer that is refused says and cites nothing")
        if self.must_refuse and self.must_admit:
            found.append("must_refuse, must_admit: an answer that is refused has no part that is given")
        if both := sorted(set(self.expected_tools) & set(self.forbidden_tools)):
            found.append(f"expected_tools, forbidden_tools: {', '.join(both)} cannot be both")
        return found

    def case(self) -> Case:
        asked = self.expected
        expected = Expected(exact=asked.exact, contains=asked.contains, regex=asked.regex, json=asked.json_)
        return Case(**{**{name: getattr(self, name) for name in type(self).model_fields}, "expected": expected})


def read_cases(path: Path) -> tuple[Case, ...]:
    """The cases of a file, in its order; empty lines are skipped.

    Raises:
        Misconfigured: With one line per mistake, each with file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: cannot be read: {error}") from error
    cases: dict[str, Case] = {}
    problems: list[str] = []
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        line, mistakes = _read(text)
        if line is not None and line.id in cases:
            mistakes = [*mistakes, f"id: {line.id!r} stands on an earlier line too"]
        if line is not None and not mistakes:
            cases[line.id] = line.case()
        problems += [f"{path}:{number}: {mistake}" for mistake in mistakes]
    if not cases and not problems:
        problems.append(f"{path}: there is no case in it")
    if problems:
        raise Misconfigured("\n".join(problems))
    return tuple(cases.values())


def with_tags(cases: Sequence[Case], tags: Sequence[str]) -> tuple[Case, ...]:
    """The cases that have one of these tags; all of them where none is given."""
    return tuple(case for case in cases if not tags or set(tags) & set(case.tags))


def without_rubrics(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases with all they ask but their rubrics: for where no model can judge."""
    return tuple(replace(case, rubric=None) for case in cases)


def handful(cases: Sequence[Case], seed: int) -> tuple[Case, ...]:
    """A few cases by chance, in the order of the file; the same ones for the same seed."""
    chosen = random.Random(seed).sample(range(len(cases)), min(SMOKE, len(cases)))  # noqa: S311 - repeatable on purpose
    return tuple(cases[place] for place in sorted(chosen))


def _read(text: str) -> tuple[_Line | None, list[str]]:
    """A line, or None, and what is wrong with it."""
    try:
        json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refused)
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        return None, [
            _told(detail) for detail in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    except ValueError as error:
        return None, [f"is no JSON object: {error}" if isinstance(error, json.JSONDecodeError) else str(error)]
    except RecursionError:
        return None, ["is nested too deeply"]
    return line, line.contradictions()


def _told(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    said = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(detail["type"], detail["msg"])
    return f"{name}: {said}" if name else said


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name in (names := [name for name, _ in pairs]):
        if names.count(name) > 1:
            raise ValueError(f"{name}: stands there twice")
    return dict(pairs)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
