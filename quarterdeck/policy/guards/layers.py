"""The guards of one agent, in the four places a text passes: as a question, as a passage, at a tool, as an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from quarterdeck.policy.grounding import leaves
from quarterdeck.policy.guards.base import About
from quarterdeck.policy.guards.chain import Chain, Hit, Link

__all__ = ["ArgumentRule", "Guards", "GuardsOf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentRule:
    """A guard of what tools are called with.

    Attributes:
        tools: Patterns of names.
        argument: Name of the one that is looked at, with all that is in it; empty for every one.
    """

    link: Link
    tools: tuple[str, ...] = ("*",)
    argument: str = ""

    async def find(self, tool: str, args: Mapping[str, Any], about: About) -> tuple[Hit, ...]:
        """What it finds in the texts and numbers of a call."""
        if not any(fnmatchcase(tool, pattern) for pattern in self.tools):
            return ()
        looked_at = {self.argument: args.get(self.argument)} if self.argument else args
        chain = Chain([self.link])
        found: list[Hit] = []
        for value in looked_at.values():
            for leaf in leaves(value):
                if leaf is not None and not isinstance(leaf, bool):
                    found += await chain.find(str(leaf), about)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What is looked at by whom. Without any of them texts pass as they are.

    Attributes:
        retrieval: Over passages. A blocked one is left out; what is redacted keeps its length, as citations name spans.
        lower: Put flagged passages behind the others.
        tool: Over what tools return.
        arguments: Over what they are called with.
        whole: Somebody is asked about answers, who can only judge whole ones: none of them is told while it is made.
        reach: Characters of an answer that are held back while it is made, for guards whose findings have no known form.
    """

    input: Chain = field(default_factory=Chain)
    retrieval: Chain = field(default_factory=Chain)
    lower: bool = False
    tool: Chain = field(default_factory=Chain)
    arguments: tuple[ArgumentRule, ...] = ()
    output: Chain = field(default_factory=Chain)
    whole: bool = False
    reach: int = 0


GuardsOf = Callable[[str], Guards]  # by name of the agent
