"""What the policy is compared with: none at all, and a person before every write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Decision, Value, Verdict
from quarterdeck.core.extraction import Extraction
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import ToolCall
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy import Grounds, Policy
from quarterdeck.policy.base import Resolved


@dataclass(frozen=True, slots=True)
class Fixed:
    """Decides by the effect of a tool and nothing else.

    Attributes:
        policy: Says what effect a tool has.
        writes: What becomes of a write.
    """

    policy: Policy
    writes: Verdict

    @property
    def version(self) -> str:
        return f"fixed:{self.writes}"

    def decide(self, call: ToolCall, tool: Tool | None, label: Label, principal: Principal, grounds: Grounds) -> Decision:
        verdict = self.writes if tool is not None and acts(self.policy, tool) else Verdict.ALLOW
        return Decision(call_id=call.id, verdict=verdict, rule="fixed", policy_version=self.version, label=label)

    def resolves(self, tool: Tool) -> bool:
        return False

    def resolved(self, tool: Tool, text: str) -> Resolved:
        return Resolved()

    def known(self, call: ToolCall, tool: Tool) -> Sequence[Value]:
        return ()

    def result_label(self, tool: Tool, arguments: Label, principal: Principal, text: str = "") -> Label:
        return self.policy.result_label(tool, arguments, principal, text)

    def extraction(self, tool: Tool) -> Extraction | None:
        return None


def acts(policy: Policy, tool: Tool) -> bool:
    """True if a call of `tool` has a consequence in the world."""
    return policy.entry(tool).effect not in (Effect.READ, Effect.READ_EGRESS)
