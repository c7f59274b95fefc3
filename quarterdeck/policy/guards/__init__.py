"""What is said about texts on their way: signals and rules of form, in four layers. Permissions never rest on them."""

from quarterdeck.policy.guards.base import About, Finding, Guard, Ruling
from quarterdeck.policy.guards.chain import Chain, Link
from quarterdeck.policy.guards.layers import ArgumentRule, Guards

__all__ = ["About", "ArgumentRule", "Chain", "Finding", "Guard", "Guards", "Link", "Ruling"]
