"""What a policy is told to be from configuration alone: in words, and by the rule of two."""

from __future__ import annotations

import pytest

from quarterdeck.core.tools import Tool
from quarterdeck.policy import Policy
from quarterdeck.policy.explain import explain
from quarterdeck.policy.lint import lint, rule_of_two
from quarterdeck.policy.load import load_policy
from quarterdeck.tools import as_tool, tool


@tool(effect="read")
def read_mail(folder: str) -> None: ...


@tool(effect="read", trusted=True)
def balance() -> None: ...


@tool(effect="write_egress", identity=("to",), content=("text",), sink="emails(to)", scope="mail.send")
def send_email(to: str, text: str) -> None: ...


@tool(effect="write", needs_approval=True)
def wipe(everything: bool) -> None: ...


@tool(effect="write_local", risk=0)
def note_down(text: str) -> None: ...


def catalogue(city: str) -> None: ...


def lookup(name: str) -> None: ...


TOOLS: list[Tool] = [read_mail, balance, send_email, wipe, as_tool(catalogue), as_tool(lookup), note_down]
FILE = """
policy: v1
tools:
  catalogue: {effect: read, risk: 0, result: {readers: public}}
  lookup: {effect: read, risk: 0, resolver: true}
  send_email: {asked: [send mail/letter], bounds: {text: {one_of: [hello, bye]}}, max_calls: 2}
rules:
  - {id: R1, when: {tool.effect: write_egress, label.readers: "!public"}, then: approve}
"""
POLICY = load_policy(FILE, "policy.yaml", TOOLS)


@pytest.mark.row("G4", part="policy check")
def test_an_agent_with_all_three_dangers_is_told_after_what_which_tools_need_more() -> None:
    told = rule_of_two(POLICY, "helper", TOOLS[:4])

    assert told.all_three
    assert (told.outsiders[0], told.private, told.acting) == ("read_mail", ("read_mail", "balance"), ("send_email", "wipe"))
    assert told.unasked == ("send_email",)
    assert told.verdict.endswith("send_email need the user's own words or an approval")


@pytest.mark.row("G4", part="policy check")
@pytest.mark.parametrize(
    ("tools", "verdict"),
    [
        (TOOLS[:2], "at most two of three: it changes nothing and sends nothing"),
        ([TOOLS[4], TOOLS[2]], "at most two of three: it knows nothing private"),
        ([TOOLS[1]], "at most two of three: it reads no outsider's text, it changes nothing and sends nothing"),
        ([TOOLS[0], TOOLS[3]], "all three, and a person is asked before everything it does"),
        (
            [TOOLS[0], TOOLS[3], note_down],
            "all three: after read_mail, wipe, note_down, note_down need nothing, as they write for the user alone",
        ),
    ],
)
def test_an_agent_with_two_dangers_is_told_which_is_missing(tools: list[Tool], verdict: str) -> None:
    assert rule_of_two(POLICY, "helper", tools).verdict == verdict


def test_entries_that_let_more_pass_than_they_seem_to_are_found() -> None:
    found = {(finding.level, finding.tool, finding.text.split(":")[0]) for finding in lint(POLICY, TOOLS)}
    unknown = {finding.text for finding in lint(Policy.default([]), [read_mail])}

    assert ("warning", "lookup", "grounds who and where by results an outsider may have written") in found
    assert ("note", "balance", "is trusted") in found
    assert "has no entry, so it counts as a write of risk 2" in unknown


@pytest.mark.row("G4", part="policy check")
def test_a_tool_is_told_in_sentences_a_security_officer_reads() -> None:
    told = {each.tool: each.says for each in explain(POLICY, TOOLS)}

    assert list(told) == sorted(told)
    assert told["send_email"] == (
        "writes and sends out of the house",
        "only with the right mail.send",
        "text within hello, bye",
        "at most 2 times in a run",
        "its results may hold an outsider's text",
        "after an outsider's text, only where the user asks for it: send mail/letter",
        "then to must stand in the user's words or come from a resolver",
        "what it sends is read by those in to",
        "also under R1 of the rules",
    )
    assert told["wipe"][-1] == "always with an approval"
    assert told["catalogue"] == ("reads", "its results may hold an outsider's text", "its results are known to everybody")


@pytest.mark.row("G5", part="extraction")
def test_what_is_taken_out_and_endorsed_is_told_and_an_agent_that_sees_bounded_values_reads_no_outsider() -> None:
    values = "{urgent: {kind: boolean}}"
    file = f"""
policy: v1
tools:
  read_mail: {{extract: {{values: {values}}}}}
  lookup: {{effect: read, risk: 0, resolver: true, result: {{fields: {{email: trusted, nickname: untrusted}}}}}}
  send_email: {{endorse: [to], known: {{to: {{domains: [corp.example]}}}}}}
"""
    wide = file.replace(values, "{n: {kind: integer, min: 0, max: 1e30}}")
    policy = load_policy(file, "policy.yaml", TOOLS)

    told = {each.tool: each.says for each in explain(policy, TOOLS)}

    assert "no agent reads its results; what is taken out of them: urgent" in told["read_mail"]
    assert "what no outsider wrote of its results grounds who and where" in told["lookup"]
    assert "endorsed in advance: to corp.example" in told["send_email"]
    assert "then of what stands nowhere in to somebody must endorse each value first" in told["send_email"]
    assert rule_of_two(policy, "helper", [TOOLS[0]]).outsiders == ()
    assert rule_of_two(load_policy(wide, "policy.yaml", TOOLS), "helper", [TOOLS[0]]).outsiders == ("read_mail",)
    assert any("bits" in found.text for found in lint(load_policy(wide, "policy.yaml", TOOLS), [TOOLS[0]]))
