"""A guard that finds what model formats take for control: special tokens, roles and tool calls written as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quarterdeck.policy.guards.base import About, Finding

__all__ = ["Markers", "neutral"]

_MARKERS = re.compile(
    r"<\|[^<>|\n]{1,40}\|>"
    r"|</?(?:tool_calls?|tool_response|tool_result|function_calls?|function_results?|invoke|parameter|system|assistant|bos|eos)"
    r"(?:\s[^<>\n]{0,80})?>"
    r"|<(?:start|end)_of_turn>|</?s>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|[<＜][|｜][^<>＜＞|｜\n]{1,40}[|｜][>＞]",
    re.IGNORECASE,
)
_NEUTRAL = str.maketrans("<>[]＜＞", "‹›⟦⟧‹›")


@dataclass(frozen=True, slots=True, kw_only=True)
class Markers:
    """Control written as text. Redacted it looks the same to a person, has as many characters, and controls nothing."""

    name: str = "special_tokens"

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        if "<" not in text and "[" not in text and "＜" not in text:
            return ()
        return [
            Finding(self.name, match.start(), match.end(), match[0].translate(_NEUTRAL)) for match in _MARKERS.finditer(text)
        ]


def neutral(text: str) -> str:
    """`text` with every such marker made harmless, as long as before."""
    return _MARKERS.sub(lambda match: match[0].translate(_NEUTRAL), text)
