"""What may be asked, read, done and said: one pure decision per call, over a table people can read."""

from quarterdeck.policy.base import Bound, Decider, Grounds, ToolPolicy
from quarterdeck.policy.decide import Policy

__all__ = ["Bound", "Decider", "Grounds", "Policy", "ToolPolicy"]
