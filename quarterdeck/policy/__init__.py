"""What may be asked, read, done and said: one pure decision per call, over a table people can read."""

from quarterdeck.policy.base import Bound, Decider, Grounds, ToolPolicy
from quarterdeck.policy.decide import Policy
from quarterdeck.policy.load import load_policy

__all__ = ["Bound", "Decider", "Grounds", "Policy", "ToolPolicy", "load_policy"]
