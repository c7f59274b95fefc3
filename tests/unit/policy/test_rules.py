"""Rules put together: the same ones are met as if each were asked by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.decisions import Verdict
from quarterdeck.core.labels import NOBODY, PUBLIC, Integrity, Label
from quarterdeck.policy.rules import Comparison, Rule, bundled, comparison, met

_numbers = st.integers(-2, 2) | st.sampled_from([0.5, -1.5])
_written = st.sampled_from([">=", "<=", ">", "<"]).flatmap(lambda sign: _numbers.map(lambda number: f"{sign}{number}"))
_comparisons = (_written | st.sampled_from(["a*", "!b", "=1", "ab"]) | _numbers | st.booleans()).map(comparison)
_ordering = st.fixed_dictionaries({"x": _written.map(comparison)})
_any = st.none() | st.dictionaries(st.sampled_from(["x", "y"]), _comparisons, max_size=2)
_worst = st.sampled_from([Integrity.TRUSTED, Integrity.UNTRUSTED])


def _rule(args: st.SearchStrategy[Any]) -> st.SearchStrategy[Rule]:
    verdicts = st.sampled_from([Verdict.APPROVE, Verdict.DENY])
    return st.builds(Rule, id=st.just(""), verdict=verdicts, integrity=_worst, not_public=st.booleans(), args=args)


_rules = st.lists(_rule(_ordering), max_size=12) | st.lists(_rule(_ordering | _any), max_size=12)
_values = st.none() | st.booleans() | _numbers | st.sampled_from(["a", "b", "ab", "1", ">=1", float("nan")])
_calls = st.fixed_dictionaries({"x": _numbers}) | st.dictionaries(
    st.sampled_from(["x", "y", "z"]), _values | st.lists(_values, max_size=3), max_size=3
)
_labels = st.builds(Label, integrity=st.sampled_from(Integrity), readers=st.sampled_from([PUBLIC, NOBODY]))


@given(_rules, _labels, _calls)
def test_the_rules_that_are_met_are_those_that_apply_in_the_order_of_the_policy(
    rules: list[Rule], label: Label, args: dict[str, Any]
) -> None:
    rules = [replace(rule, id=f"R{n}") for n, rule in enumerate(rules)]
    assert met(bundled(rules), label, args) == [rule for rule in rules if rule.applies(label, args)]


def test_bounds_of_one_argument_in_one_context_are_asked_as_one() -> None:
    rules = [Rule(id=f"R{n}", verdict=Verdict.DENY, args={"amount": comparison(f">={n}")}) for n in (3, 1, 2)]
    (together,) = bundled(rules)
    label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
    assert together.widest.args == {"amount": comparison(">=1")}
    assert [rule.id for rule in met([together], label, {"amount": 2})] == ["R1", "R2"]
    text = Rule(id="T", verdict=Verdict.DENY, args={"amount": Comparison(sign=">=", operand="9")})
    assert len(bundled([*rules, text, text])) == 3
    assert len(bundled([*rules, Rule(id="Q", verdict=Verdict.DENY, args={"amount": comparison("<=1")})])) == 2
