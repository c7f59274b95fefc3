"""Tokens of texts, counted once: every turn of a conversation sends all earlier ones again."""

from __future__ import annotations

from collections import OrderedDict

from quarterdeck.devtools.simulator.base import Ask, Reply
from quarterdeck.devtools.simulator.shape import Counts
from quarterdeck.models.tokens import count_tokens

__all__ = ["Counter"]

_KEPT = 8_192
_LONGEST = 4_000  # characters; longer texts are counted anew rather than kept
_PER_MESSAGE = 4
_PER_IMAGE = 85  # what OpenAI counts for an image of low detail


class Counter:
    """Counts what a request and its reply cost."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict({"": 0})

    def __call__(self, text: str) -> int:
        known = self._known.get(text)
        if known is None:
            known = count_tokens(text)
            if len(text) <= _LONGEST:
                self._known[text] = known
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return known

    def prompt(self, ask: Ask) -> int:
        """Tokens of everything the model reads."""
        tokens = ask.tool_tokens
        for _, text, calls, _, _, images in ask.turns:
            tokens += _PER_MESSAGE + self(text) + images * _PER_IMAGE
            for name, arguments, _ in calls:
                tokens += self(name) + self(arguments)
        return tokens

    def counts(self, reply: Reply, cached: int, prompt: int) -> Counts:
        """The tokens of a reply, with what a script says instead.

        Args:
            cached: Tokens of the prompt the provider has read before.
            prompt: All tokens of the prompt.
        """
        reasoning = self(reply.reasoning) if reply.reasoning else 0
        completion = self(reply.text) + reasoning
        if reply.refusal:
            completion += self(reply.refusal)
        for name, arguments, _ in reply.calls:
            completion += _PER_MESSAGE + self(name) + self(arguments)
        told = reply.usage
        if told is None:
            return Counts(prompt, completion, cached, reasoning)
        return Counts(
            prompt if told.prompt_tokens is None else told.prompt_tokens,
            completion if told.completion_tokens is None else told.completion_tokens,
            cached if told.cached_tokens is None else told.cached_tokens,
            reasoning if told.reasoning_tokens is None else told.reasoning_tokens,
        )
