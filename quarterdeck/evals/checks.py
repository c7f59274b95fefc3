"""The checks: each tells the faults of an outcome, or None where its case asks nothing of it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from quarterdeck.agent.answer import unfenced
from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.base import Case, Check, Outcome
from quarterdeck.evals.dataset import pattern
from quarterdeck.evals.reading import resolved, unmarked
from quarterdeck.knowledge.cite import nothing_found

__all__ = ["CHECKS", "own_check"]

_DECLINES = re.compile(
    r"\b(?:cannot|can['’]?t|can not|(?:am|are|['’]m|['’]re) not (?:able|allowed|permitted)|unable"
    r"|(?:may|will|must) not|won['’]t)\b"
    r".{0,40}?\b(?:answer|help|assist|tell|share|show|give|provide"
    r"|disclose|reveal|discuss|do (?:that|this|so))\b"
    r"|(?:不能|无法|无权|不便|不可以|没有权限).{0,12}?(?:回答|帮|提供|告诉|透露|告知|分享)|拒绝",
    re.IGNORECASE,
)
_SETTLED = frozenset({"completed", "awaiting_approval"})


def ended(case: Case, outcome: Outcome) -> list[str]:
    """The run came to its own end, or waits for a person."""
    return [] if outcome.stop_reason in _SETTLED else [f"the run stopped: {outcome.stop_reason}"]


def exact(case: Case, outcome: Outcome) -> list[str] | None:
    """The answer without its marks is this text; white space does not count."""
    if case.expected.exact is None:
        return None
    said = _spaced(unmarked(outcome))
    return [] if said == _spaced(case.expected.exact) else [f"the answer is not {_short(case.expected.exact)}"]


def contains(case: Case, outcome: Outcome) -> list[str] | None:
    """Each text is in the answer; case and white space do not count, and ``8`` is not in ``18`` or ``8.5``."""
    if not case.expected.contains:
        return None
    said = _folded(unmarked(outcome))
    return [f"does not contain {_short(text)}" for text in case.expected.contains if not _within(_folded(text), said)]


def regex(case: Case, outcome: Outcome) -> list[str] | None:
    """The pattern is found in the answer without its marks."""
    if case.expected.regex is None:
        return None
    try:
        pattern(case.expected.regex).validate_python(unmarked(outcome))
    except ValidationError:
        return [f"does not match {case.expected.regex}"]
    return []


def json_value(case: Case, outcome: Outcome) -> list[str] | None:
    """The answer is JSON, or of a declared type, and holds the expected value."""
    if case.expected.json is None:
        return None
    try:
        value = outcome.output if outcome.output is not None else json.loads(unfenced(outcome.answer))
    except (ValueError, RecursionError):
        return ["the answer is no JSON"]
    return _differences(case.expected.json, value, "")


def sources(case: Case, outcome: Outcome) -> list[str] | None:
    """Each expected document or passage is cited."""
    if not case.expected_sources:
        return None
    cited = {name for source in outcome.sources for name in (source.id, source.document)}
    return [f"does not cite {name}" for name in case.expected_sources if name not in cited]


def cited(case: Case, outcome: Outcome) -> list[str] | None:
    """Something is cited, and no sentence claims anything without a source."""
    if not case.must_cite:
        return None
    if not outcome.sources:
        return ["cites nothing"]
    return [f"claims without a source: {_short(sentence)}" for sentence in resolved(outcome).uncited]


def supported(case: Case, outcome: Outcome) -> list[str] | None:
    """What a sentence cites says what the sentence says."""
    if not case.must_cite:
        return None
    return [f"is not borne out by its source: {_short(sentence)}" for sentence in resolved(outcome).unsupported]


def admitted(case: Case, outcome: Outcome) -> list[str] | None:
    """The answer says that it has none to a part of the question, whatever it says of the rest."""
    if not case.must_admit:
        return None
    return [] if _says_no(outcome.answer) else ["does not say that a part is left without an answer"]


def leaked(case: Case, outcome: Outcome) -> list[str] | None:
    """Nothing is cited or said that the asker may not read."""
    if not case.forbidden and not outcome.sources:
        return None
    said = _folded(unmarked(outcome))
    shown = [f"cites {source.id}, which is closed to who asks" for source in outcome.sources if source.closed]
    return [*shown, *(f"says {_short(text)}" for text in case.forbidden if _within(_folded(text), said))]


def refused(case: Case, outcome: Outcome) -> list[str] | None:
    """The answer says that it gives none; it cites and proposes nothing."""
    if not case.must_refuse:
        return None
    faults = [] if _says_no(outcome.answer) else ["does not say that it cannot answer"]
    if outcome.sources:
        faults.append(f"cites {', '.join(source.id for source in outcome.sources)}")
    if outcome.drafts:
        faults.append("proposes a write")
    return faults


def trajectory(case: Case, outcome: Outcome) -> list[str] | None:
    """The expected tools were called, in order where that is asked, and none of the forbidden ones."""
    if not case.expected_tools and not case.forbidden_tools:
        return None
    called = Counter(outcome.tools)
    missing = Counter(case.expected_tools) - called
    faults = [f"did not call {name}" + (f" {times} times more" if called[name] else "") for name, times in missing.items()]
    if case.tools_in_order and not missing:
        rest = iter(outcome.tools)
        if not all(name in rest for name in case.expected_tools):
            faults.append(f"called {', '.join(outcome.tools)}, not in the order {', '.join(case.expected_tools)}")
    return [*faults, *(f"called {name}" for name in dict.fromkeys(case.forbidden_tools) if called[name])]


def latency(case: Case, outcome: Outcome) -> list[str] | None:
    """The run took no longer than this."""
    if case.max_latency_ms is None:
        return None
    slow = outcome.latency_ms > case.max_latency_ms
    return [f"took {outcome.latency_ms:.0f} ms, more than {case.max_latency_ms:.0f}"] if slow else []


def cost(case: Case, outcome: Outcome) -> list[str] | None:
    """The run's model calls cost no more than this; a cost nobody knows is too much."""
    if case.max_cost_usd is None:
        return None
    if outcome.cost_usd is None:
        return [f"nobody knows what it cost: {outcome.model} has no known price"]
    dear = outcome.cost_usd > case.max_cost_usd
    return [f"cost {outcome.cost_usd:.6f} USD, more than {case.max_cost_usd:.6f}"] if dear else []


CHECKS: Mapping[str, Check] = {
    "ended": ended,
    "exact": exact,
    "contains": contains,
    "regex": regex,
    "json": json_value,
    "sources": sources,
    "cited": cited,
    "supported": supported,
    "refused": refused,
    "admitted": admitted,
    "leaked": leaked,
    "trajectory": trajectory,
    "latency": latency,
    "cost": cost,
}


def own_check(name: str) -> Check:
    """The function under ``module:function``. It is the caller's code and runs with the caller's rights.

    Raises Misconfigured if there is none.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise Misconfigured(f"{name!r} names no check; write module:function")
    try:
        found: Check | None = getattr(import_module(module), function, None)
    except ImportError as error:
        raise Misconfigured(f"the check {name} cannot be imported: {error}") from error
    if not callable(found):
        raise Misconfigured(f"the check {name}: {module} has no function {function!r}")
    return found


def _says_no(text: str) -> bool:
    return nothing_found(text) or _DECLINES.search(text) is not None


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _folded(text: str) -> str:
    return _spaced(text).casefold()


def _within(text: str, said: str) -> bool:
    before = r"(?<!\d)(?<!\d[.,])" if text[:1].isdecimal() else ""
    after = r"(?!\d)(?![.,]\d)" if text[-1:].isdecimal() else ""
    return re.search(before + re.escape(text) + after, said) is not None


def _short(text: str) -> str:
    words = " ".join(text.split())
    return f"“{words[:120]}…”" if len(words) > 120 else f"“{words}”"


def _differences(wanted: Any, found: Any, at: str) -> list[str]:
    """Where `found` is not what was wanted; keys nobody asked for do no harm."""
    place = at or "the answer"
    if isinstance(wanted, dict) and isinstance(found, dict):
        missing = [f"{at}.{key}".lstrip(".") + " is missing" for key in wanted if key not in found]
        inner = (_differences(wanted[key], found[key], f"{at}.{key}".lstrip(".")) for key in wanted if key in found)
        return [*missing, *(fault for faults in inner for fault in faults)]
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            return [f"{place} has {len(found)} items, not {len(wanted)}"]
        pairs = enumerate(zip(wanted, found, strict=True))
        return [fault for number, (one, other) in pairs for fault in _differences(one, other, f"{at}[{number}]")]
    same = wanted == found and isinstance(wanted, bool) == isinstance(found, bool)  # in JSON true is not 1
    return [] if same else [f"{place} is {_short(json.dumps(found, ensure_ascii=False, default=str))}"]
