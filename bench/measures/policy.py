"""CPU of one decision: 200 rules, 100 tools, an untrusted context, and words as long as a long message."""

from __future__ import annotations

import time
from statistics import quantiles

from bench.measure import Measure, absolute
from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Verdict
from quarterdeck.core.labels import Label, Readers
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Tool
from quarterdeck.policy import Grounds
from quarterdeck.policy.load import load_policy
from quarterdeck.tools import tool

RULES = 200
TOOLS = 100
DECISIONS = 5_000
BUDGET_MS = 1.0
ANNA = Principal(user="anna", tenant="acme", scopes=("mail.send",))
LABEL = Label(readers=Readers.of("user:anna", "group:staff"), sources=tuple(f"mail-{n}" for n in range(60)))
WORDS = ("Please send the minutes of Monday to bob@corp.example. " * 20 + "The subject is Minutes.",) * 2
ARGS = {"to": ["bob@corp.example"], "subject": "Minutes", "body": "We met, see https://corp.example/minutes. " * 20}


def _tools() -> list[Tool]:
    made: list[Tool] = []
    for n in range(TOOLS):

        @tool(
            name=f"send_email_{n}",
            effect="write_egress",
            identity=("to",),
            content=("subject", "body"),
            sink="emails(to)",
            scope="mail.send",
        )
        def send(to: list[str], subject: str, body: str) -> None:
            """Send a mail."""

        made.append(send)
    return made


async def measure() -> list[Measure]:
    tools = _tools()
    when = "label.integrity: untrusted, args.subject: 'X*'"
    rules = "\n".join(f"  - {{id: R{n}, when: {{tool: 'send_*_{n % TOOLS}', {when}}}, then: deny}}" for n in range(RULES))
    policy = load_policy(f"policy: v1\nrules:\n{rules}\n", "policy.yaml", tools)
    grounds = Grounds(words=WORDS, resolved=("bob bob@corp.example; " * 200,))
    calls = [(one, ToolCall(id="t1c0", name=one.name, args=one.bind(ARGS))) for one in tools]
    taken_ms: list[float] = []
    for n in range(DECISIONS):
        one, call = calls[n % TOOLS]
        before = time.thread_time_ns()
        decision = policy.decide(call, one, LABEL, ANNA, grounds)
        taken_ms.append((time.thread_time_ns() - before) / 1e6)
        assert decision.verdict is Verdict.APPROVE, decision  # its link does not stand in the words
    cuts = quantiles(taken_ms, n=100)
    return [
        absolute(f"a decision under {RULES} rules, median", cuts[49], "ms CPU"),
        absolute(f"a decision under {RULES} rules, 99th of 100", cuts[98], "ms CPU", budget=BUDGET_MS),
    ]
