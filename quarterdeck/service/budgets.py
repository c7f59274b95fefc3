"""What runs, users, groups, agents, models and tenants may spend, what they have spent, and what was saved."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import BudgetExceeded, Misconfigured
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Allowance, ModelRequest
from quarterdeck.models.estimate import prompt_tokens
from quarterdeck.models.prices import Prices
from quarterdeck.service.tallies import KIND, Account, Scope, Tallies, Tally, read_tallies
from quarterdeck.store.base import Records

__all__ = ["BudgetLimit", "Budgets", "Cost"]

_COMPLETION_TOKENS = 4096  # held back for a reply whose length nobody limited, until a longer one was seen
_BYTES_PER_TOKEN = 2  # of text, held back beside the estimate of the whole prompt: rather too much than too little
_AROUND = 16  # tokens a provider adds to a prompt of its own
_PAGE = 500
_WARNED_KEPT = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimit:
    """How much one run, user, group, agent, model or tenant may spend.

    Attributes:
        period: Days and months of the calendar, UTC. A run has one budget for all its time.
        names: Whom it holds for, each with a budget of its own; empty for everybody.
        max_usd, max_tokens: What counts as all of it; either or both.
        warn_at: Share of it from which calls are marked in the run's record and a line is logged, None for never.
        downgrade_at: Share of it from which `downgrade_to` is asked instead, None for never.
        stops: Whether calls are refused once all of it is spent.
    """

    scope: Literal["run", "user", "group", "agent", "model", "tenant"]
    period: Literal["day", "month"] = "day"
    names: tuple[str, ...] = ()
    max_usd: float | None = None
    max_tokens: int | None = None
    warn_at: float | None = 0.8
    downgrade_at: float | None = None
    downgrade_to: str = ""
    stops: bool = True

    def share(self, tally: Tally) -> float:
        """How much of it `tally` is: 1 when all is spent, in money or in tokens."""
        of_usd = tally.cost_usd / self.max_usd if self.max_usd is not None else 0.0
        of_tokens = tally.tokens / self.max_tokens if self.max_tokens is not None else 0.0
        return max(of_usd, of_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What somebody consumed of one model on one day."""

    scope: str
    name: str
    day: str
    model: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Purse:
    """One budget of one holder: a limit, and the accounts it is spent from."""

    limit: BudgetLimit
    tenant: str
    holder: str
    accounts: tuple[Account, ...]

    @property
    def key(self) -> tuple[BudgetLimit, str, str, str]:
        return (self.limit, self.tenant, self.holder, self.accounts[-1].day)

    def __str__(self) -> str:
        time = "" if self.limit.scope == "run" else f" this {self.limit.period}"
        return f"{self.limit.scope} {self.holder}{time}"


class Budgets:
    """Implements `models.base.Budget` over records of the store.

    Exact to one call to a provider, repeated calls and those of stand-ins included: each begins only while something is
    left, and what it may cost at most is held back until it has ended, so that of calls side by side only one can be the one
    that goes over. A call that may not fit beside those in flight waits for them. Without limits, spending is only counted,
    and written within `flush_s`; with limits it is durable before the reply goes on. Several processes count on the same
    rows, and each looks at the others' spending again after `flush_s`: what they spent since then, and have in flight, it
    does not know of, and a limit may be passed by that much.
    """

    def __init__(
        self,
        records: Records,
        prices: Prices,
        limits: Sequence[BudgetLimit] = (),
        *,
        departments: Collection[str] = (),
        flush_s: float = 1.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        Args:
            departments: Groups that are counted, and may have a budget, beside those a limit names.
            flush_s: Until what was booked is written, and until what other processes booked is read.
        """
        self._records = records
        self._tallies = Tallies(records)
        self._prices = prices
        self._limits = tuple(limits)
        self._departments = {*departments, *(name for limit in limits if limit.scope == "group" for name in limit.names)}
        self._flush_s = flush_s
        self._now = now
        self._held: dict[object, list[Tally]] = {}
        self._longest: dict[str, int] = {}
        self._settled = anyio.Event()
        self._stopping = anyio.Event()
        self._warned: set[object] = set()

    async def allow(self, ctx: Context, model: str, request: ModelRequest) -> Allowance:
        """The model a call may go to, once there is room for one attempt at it. See `models.base.Budget`."""
        while self._limits:
            purses = self._purses(ctx, model)
            cheaper = {limit.downgrade_to for limit in self._limits if limit.downgrade_to}
            await self._load((*purses, *(purse for name in cheaper for purse in self._purses(ctx, name))))
            allowance = self._allowance(purses)
            chosen = allowance.model or model  # which may have a budget of its own
            if self._room(ctx, chosen, request) is not None:
                return allowance
            await self._others_settled(ctx)
        return Allowance()

    @asynccontextmanager
    async def hold(self, ctx: Context, model: str, request: ModelRequest) -> AsyncIterator[None]:
        """Hold back what one attempt may cost while the block lasts. See `models.base.Budget`."""
        if not self._limits:
            yield
            return
        await self._load(self._purses(ctx, model))
        while (room := self._room(ctx, model, request)) is None:
            await self._others_settled(ctx)
            await self._load(self._purses(ctx, model))  # another day may have begun
        # Without an await since the last look, so that nobody else can have taken the room.
        purses, worst = room
        for purse in purses:
            self._held.setdefault(purse.key, []).append(worst)
        try:
            yield
        finally:
            for purse in purses:
                self._release(purse.key, worst)
            settled, self._settled = self._settled, anyio.Event()
            settled.set()

    async def spend(self, ctx: Context, model: str, usage: Usage, *, tools: Sequence[str] = ()) -> None:
        """Book what one call to a provider consumed. Durable when it returns if a limit holds for the caller.

        A reply that calls several tools is shared among them; one that calls none is no tool's.
        """
        self._longest[model] = max(self._longest.get(model, 0), usage.completion_tokens)
        tenant, day = ctx.principal.tenant, self._now().date().isoformat()
        accounts = [Account("run", ctx.run_id, ""), Account("user", ctx.principal.user, day), Account("tenant", tenant, day)]
        accounts += (Account("group", group, day) for group in self._counted(ctx))
        if ctx.agent:
            accounts.append(Account("agent", ctx.agent, day))
        spent = Tally.of(usage)
        self._tallies.book(tenant, accounts, model, spent)
        for tool, share in zip(tools, spent.shares(len(tools)), strict=True):
            self._tallies.book(tenant, [Account("tool", tool, day)], model, share)
        if self._limits:
            await self._tallies.flush()

    async def save(self, ctx: Context, by: str, model: str, usage: Usage) -> None:
        """Book what was not consumed thanks to `by`: one call's tokens and money, or money alone; below nothing is more."""
        account = Account("saving", by, self._now().date().isoformat())
        saved = replace(Tally.of(usage), cost_usd=usage.cost_usd or 0.0)
        self._tallies.book(ctx.principal.tenant, [account], model, saved)

    async def serve(self) -> None:
        """Write what is booked every `flush_s` until `stop`, and once more then."""
        while not self._stopping.is_set():
            with anyio.move_on_after(self._flush_s):
                await self._stopping.wait()
            await self._tallies.flush()

    def stop(self) -> None:
        """Let `serve` write the rest and return."""
        self._stopping.set()

    async def costs(
        self, tenant: str, scope: Scope, *, since: date | None = None, until: date | None = None, name: str | None = None
    ) -> list[Cost]:
        """What was consumed, by holder, day and model. Sums over all runs, users or tenants are the same.

        Those over groups and tools are not: people are in several groups or none, and not every reply calls a tool. A
        ``saving`` is what was not consumed.

        Args:
            since, until: Days in UTC, both included; None for today. A run is asked for by `name` and has no days.
            name: Only this holder.
        """
        await self._tallies.flush()
        today = self._now().date()
        first, last = since or today, until or today
        days = [""] if scope == "run" else [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]
        found: list[Cost] = []
        for day in days:
            if name is not None:
                await self._tallies.load(tenant, [Account(scope, name, day)], within_s=0.0)
                by_name = {name: self._tallies.by_model(tenant, Account(scope, name, day))}
            else:
                by_name = await self._of_all(tenant, scope, day)
            for holder, by_model in sorted(by_name.items()):
                found += (
                    Cost(scope=scope, name=holder, day=day, model=model, tally=tally)
                    for model, tally in sorted(by_model.items())
                )
        return found

    async def _of_all(self, tenant: str, scope: Scope, day: str) -> dict[str, Mapping[str, Tally]]:
        found: dict[str, Mapping[str, Tally]] = {}
        before: str | None = None
        while True:
            page = await self._records.find(tenant, KIND, status=scope, ref=day or None, before=before, limit=_PAGE)
            found |= {record.owner: read_tallies(record) for record in page}
            if len(page) < _PAGE:
                return found
            before = page[-1].id

    def _purses(self, ctx: Context, model: str) -> list[_Purse]:
        """The budgets a call is spent from."""
        today = self._now().date()
        tenant = ctx.principal.tenant
        holders: Mapping[str, Sequence[str]] = {
            "run": [ctx.run_id],
            "user": [ctx.principal.user],
            "group": self._counted(ctx),
            "agent": [ctx.agent] if ctx.agent else [],
            "model": [model],
            "tenant": [tenant],
        }
        purses = []
        for limit in self._limits:
            scope: Scope = "tenant" if limit.scope == "model" else limit.scope
            days = [""] if scope == "run" else _days(limit.period, today)
            for holder in holders[limit.scope]:
                if not limit.names or holder in limit.names:
                    name = tenant if limit.scope == "model" else holder
                    accounts = tuple(Account(scope, name, day) for day in days)
                    purses.append(_Purse(limit, tenant, holder, accounts))
        return purses

    def _counted(self, ctx: Context) -> list[str]:
        """The caller's groups that are counted."""
        return [group for group in ctx.principal.groups if group in self._departments]

    def _spent(self, purse: _Purse) -> Tally:
        spent = Tally()
        for account in purse.accounts:
            for model, tally in self._tallies.by_model(purse.tenant, account).items():
                if purse.limit.scope != "model" or model == purse.holder:
                    spent += tally
        return spent

    def _allowance(self, purses: Sequence[_Purse]) -> Allowance:
        model: str | None = None
        notes = []
        for purse in purses:
            limit, share = purse.limit, purse.limit.share(self._spent(purse))
            if limit.downgrade_at is not None and share >= limit.downgrade_at:
                model = model or limit.downgrade_to
                notes.append(f"{purse} at {share:.0%} -> {limit.downgrade_to}")
            elif limit.warn_at is not None and share >= limit.warn_at:
                notes.append(f"{purse} at {share:.0%}")
                self._warn(purse, share)
        return Allowance(model=model, note=", ".join(notes))

    def _warn(self, purse: _Purse, share: float) -> None:
        if purse.key not in self._warned:
            if len(self._warned) >= _WARNED_KEPT:
                self._warned.clear()
            self._warned.add(purse.key)
            _log.warning("%s has spent %.0f %% of the budget", purse, share * 100)

    def _worst(self, model: str, request: ModelRequest, purses: Sequence[_Purse]) -> Tally:
        """What a call may cost at most."""
        read = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
        usage = Usage(
            prompt_tokens=_AROUND + read // _BYTES_PER_TOKEN + prompt_tokens(request),
            completion_tokens=max(_COMPLETION_TOKENS, self._longest.get(model, 0))
            if request.max_tokens is None
            else request.max_tokens,
        )
        cost_usd = self._prices.cost_usd(model, usage)
        if cost_usd is None and any(purse.limit.max_usd is not None and purse.limit.stops for purse in purses):
            raise Misconfigured(f"there is a budget in money and {model} has no known price: add it to models.prices")
        return Tally(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, cost_usd=cost_usd or 0.0)

    async def _load(self, purses: Sequence[_Purse]) -> None:
        for purse in purses:
            *past, present = purse.accounts
            await self._tallies.load(purse.tenant, past)
            await self._tallies.load(purse.tenant, [present], within_s=self._flush_s)

    async def _others_settled(self, ctx: Context) -> None:
        with anyio.move_on_after(ctx.remaining_s()):
            await self._settled.wait()

    def _room(self, ctx: Context, model: str, request: ModelRequest) -> tuple[list[_Purse], Tally] | None:
        """The loaded budgets a call is spent from and what it may cost; None while others in flight leave no room."""
        purses = self._purses(ctx, model)
        worst = self._worst(model, request, purses)
        return (purses, worst) if self._has_room(purses, worst) else None

    def _has_room(self, purses: Sequence[_Purse], worst: Tally) -> bool:
        """Whether a call fits beside those in flight; alone it always does while something is left."""
        crowded = False
        for purse in purses:
            if not purse.limit.stops:
                continue
            spent, held = self._spent(purse), self._held.get(purse.key, [])
            if purse.limit.share(spent) >= 1.0:
                raise BudgetExceeded(f"the budget of {purse} is spent")
            crowded |= bool(held) and purse.limit.share(sum(held, spent) + worst) > 1.0
        return not crowded

    def _release(self, key: object, worst: Tally) -> None:
        held = self._held[key]
        held.remove(worst)
        if not held:
            del self._held[key]


def _days(period: Literal["day", "month"], today: date) -> list[str]:
    first = today if period == "day" else today.replace(day=1)
    return [(first + timedelta(n)).isoformat() for n in range((today - first).days + 1)]
