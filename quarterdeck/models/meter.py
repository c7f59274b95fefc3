"""Holds every attempt to a budget and tells the budget what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.events import Delta
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Budget, Completion, Emit, Model, ModelRequest
from quarterdeck.models.estimate import prompt_tokens
from quarterdeck.models.prices import Prices
from quarterdeck.models.tokens import count_tokens

__all__ = ["Metered"]


class Metered:
    """Asks a budget before each attempt, and tells it what the attempt consumed, also if it was billed and failed.

    Of a call whose caller left nobody knows what was billed, so it is estimated by the prompt and what was passed on.

    It stands next to the provider, inside retries and fallbacks, so that a budget sees each attempt for itself, at the price
    of the model that makes it: between two attempts the money may have run out.
    """

    def __init__(self, model: Model, prices: Prices, budget: Budget | None = None) -> None:
        self._model = model
        self._prices = prices
        self._budget = budget

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if self._budget is None:
            return await self._booked(request, ctx, emit)
        async with self._budget.hold(ctx, self.name, request):
            return await self._booked(request, ctx, emit)

    async def _booked(self, request: ModelRequest, ctx: Context, emit: Emit | None) -> Completion:
        heard: list[str] = []

        async def hear(delta: Delta) -> None:
            heard.append(delta.text)
            if emit is not None:
                await emit(delta)

        try:
            completion = await self._model.complete(request, ctx, None if emit is None else hear)
        except anyio.get_cancelled_exc_class():
            said = count_tokens("".join(heard))
            usage = Usage(prompt_tokens=prompt_tokens(request), completion_tokens=said, estimated=True)
            await self._spend(ctx, self.name, usage)
            raise
        except QuarterdeckError as error:
            if error.usage is not None:
                error.usage = await self._spend(ctx, self.name, error.usage)
            raise
        tools = _called(completion, request) if completion.tool_calls else ()
        return replace(completion, usage=await self._spend(ctx, completion.model or self.name, completion.usage, tools))

    async def _spend(self, ctx: Context, model: str, usage: Usage, tools: Sequence[str] = ()) -> Usage:
        usage = replace(usage, cost_usd=self._prices.cost_usd(model, usage))
        if self._budget is not None:
            # The provider bills a call whose caller has gone, so the budget hears of it whatever happens.
            with anyio.CancelScope(shield=True):
                await self._budget.spend(ctx, model, usage, tools=tools)
        return usage


def _called(completion: Completion, request: ModelRequest) -> Sequence[str]:
    """The tools a reply calls, of those there are: a model may invent names without end."""
    offered = {tool.name for tool in request.tools}
    return list(dict.fromkeys(call.name for call in completion.tool_calls if call.name in offered))
