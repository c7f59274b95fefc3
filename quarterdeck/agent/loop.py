"""The loop: fold the events, take the next step, perform it, append what came of it, until the run ends or waits.

There is one loop for every way of running an agent. What a step gives is staged and folded at once, and made durable
before anything happens that must not be repeated or forgotten: a write, a call out of the house, the end, a rest. Replies,
decisions and results of reads, which a crash may cost once more, wait at most 50 ms for company, also during a model call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import anyio

from quarterdeck.agent.answer import ReadOutput
from quarterdeck.agent.base import Audience, Directory, Models, Remembered, Retriever, Specs, ToolRates
from quarterdeck.agent.doubts import closed as doubts_closed
from quarterdeck.agent.drafts import closed
from quarterdeck.agent.driving import Driving
from quarterdeck.agent.ledger import Ledger
from quarterdeck.agent.state import RunState
from quarterdeck.core.decisions import DraftStatus
from quarterdeck.core.errors import (
    Fenced,
    QuarterdeckError,
    StoreUnavailable,
)
from quarterdeck.core.events import (
    RunFailed,
    StateFolded,
)
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.knowledge.rewrite import Rewriter
from quarterdeck.policy.base import Decider
from quarterdeck.policy.guards.layers import Guards, GuardsOf
from quarterdeck.store.base import Claim, Journal, Put, Records
from quarterdeck.store.codec import to_json
from quarterdeck.store.suspects import POISON_AFTER
from quarterdeck.tools.base import Toolbox

__all__ = ["Loop"]

_LETTING_GO_S = 1.0
_FOLD_AFTER = 400  # events; when a claim had to fold more, the next one shall begin with what it gave


class Loop:
    """Advances runs. Made once; all that differs between runs is in their journals."""

    def __init__(
        self,
        *,
        journal: Journal,
        records: Records,
        specs: Specs,
        models: Models,
        toolbox: Toolbox,
        policy: Decider,
        directory: Directory,
        audience: Audience,
        retriever: Retriever | None = None,
        rewriter: Rewriter | None = None,
        remembered: Remembered | None = None,
        rates: ToolRates | None = None,
        read_output: ReadOutput | None = None,
        guards: GuardsOf = lambda agent: Guards(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        doubt_grace_s: float = 5.0,
        search_timeout_s: float = 5.0,
    ) -> None:
        """Make a loop over these parts.

        Args:
            toolbox: Every tool there is; a run is offered those its agent names.
            rewriter: Completes a question that leans on the conversation before it is searched for.
            remembered: What agents with an answer cache were asked before.
            rates: How often tools may be called; None for as often as policy allows.
            read_output: Reads typed answers, None where agents answer in words.
            guards: What looks at the texts of an agent's runs, by its name; nothing unless somebody says so.
            now: Gives aware UTC.
            doubt_grace_s: Seconds beyond a tool's timeout before anybody may say what a started write did.
            search_timeout_s: For the search before the first model call; the run goes on without what comes later.
        """
        self.journal = journal
        self.records = records
        self.specs = specs
        self.models = models
        self.toolbox = toolbox
        self.policy = policy
        self.directory = directory
        self.audience = audience
        self.retriever = retriever
        self.rewriter = rewriter
        self.remembered = remembered
        self.rates = rates
        self.read_output = read_output
        self.guards = guards
        self.now = now
        self.doubt_grace_s = doubt_grace_s
        self.search_timeout_s = search_timeout_s
        self._scopes: dict[str, anyio.CancelScope] = {}
        self.draining = False
        self.writing: set[anyio.CancelScope] = set()

    async def advance(self, tenant: str, run_id: str) -> RunState | None:
        """Take the run as far as it goes: until it ends, waits, or another worker takes it.

        Returns:
            The state it was left in; None if there was nothing to do, or another worker has it now.

        Raises:
            StoreUnavailable: The store does not answer; the run stays as it is and is due again later.
        """
        while True:
            claim = None if self.draining else await self.journal.claim(tenant, run_id)
            if claim is None:
                return None
            with anyio.CancelScope() as scope:
                self._scopes[run_id] = scope
                try:
                    return await self._advance(claim)
                except anyio.get_cancelled_exc_class():
                    await self._let_go(claim)
                    raise
                finally:
                    if self._scopes.get(run_id) is scope:  # an overtaking advance of this process has its own
                        del self._scopes[run_id]
            # Interrupted: what was staged is dropped, as by a crash, and the journal says where the run stands.

    async def _advance(self, claim: Claim) -> RunState | None:
        ledger: Ledger | None = None
        try:
            ledger = Ledger(self.journal, self.audience, claim, self.now)
            advance = await self._begin(ledger, claim)
            if advance is not None:
                await advance.drive()
        except Fenced:
            return None  # another worker has the run, and whatever we hold is stale
        except StoreUnavailable:
            raise
        except Exception as error:
            if ledger is None:
                raise  # its journal cannot be read by this version; another may
            code = error.code if isinstance(error, QuarterdeckError) else "internal"
            said = str(error) if isinstance(error, QuarterdeckError) else f"{type(error).__name__}: {error}"
            with suppress(Fenced):
                await self._fail(ledger, code, said)
        return ledger.state

    async def _let_go(self, claim: Claim) -> None:
        """Say that the run was left in good order: that its worker was told to stop is no sign of poison.

        A worker that drains does not come back to it, so another may take it at once.
        """
        status = RunStatus.READY if self.draining else None
        with anyio.move_on_after(_LETTING_GO_S, shield=True), suppress(Fenced, StoreUnavailable):
            await self.journal.append(claim, (), folded=claim.head, status=status)

    def interrupt(self, run_id: str) -> None:
        """Make a running advance start over from the journal: a model call or a read in flight is cut, a write is not."""
        scope = self._scopes.get(run_id)
        if scope is not None:
            scope.cancel()

    def drain(self) -> None:
        """Take no run any more, and let go of each between two steps: another worker goes on with it at once."""
        self.draining = True

    def let_go(self) -> None:
        """Shield writes in flight no longer: the process has to end, and what is cut is repeated by its key or in doubt."""
        for scope in self.writing:
            scope.shield = False

    async def _begin(self, ledger: Ledger, claim: Claim) -> Driving | None:
        started = ledger.state.started
        if started is None:
            await self._fail(ledger, "internal", "the run has no first event")
            return None
        if claim.attempts > POISON_AFTER:
            times = claim.attempts - 1
            await self._fail(
                ledger, "poison", f"the run stopped its worker {times} times without a step forward", poison=True
            )
            return None
        if started.deadline is not None and ledger.state.unbegun and started.deadline <= self.now():
            await self._fail(ledger, "deadline_exceeded", "its asker's time was over before it was started")
            return None
        principal = await self.directory.current(started.principal)
        if principal is None:
            await self._fail(ledger, "forbidden", f"user {started.principal.user} may not act any more")
            return None
        spec = await self.specs.get(ledger.tenant, started.config_hash)
        if len(claim.entries) > _FOLD_AFTER:
            ledger.stage(StateFolded(upto=claim.head, state=to_json(ledger.state)))
        return Driving(self, ledger, started, spec, principal)

    async def _fail(self, ledger: Ledger, code: str, error: str, *, poison: bool = False) -> None:
        reason = StopReason.MODEL_FAILED if code.startswith(("model_", "upstream_")) else StopReason.FAILED
        failed = RunFailed(code=code, error=error, stop_reason=reason, poison=poison)
        while ledger.state.ended is None:
            beside = await self.withdrawn(ledger)
            ledger.stage(failed, beside=beside)
            await ledger.commit(status=RunStatus.FAILED)

    async def withdrawn(self, ledger: Ledger) -> list[Put]:
        """Rows that withdraw every draft and every doubt of a run that ends before a person has spoken."""
        await ledger.commit()  # a draft that is still staged has no row yet
        drafts, doubts = list(ledger.state.drafts), list(ledger.state.doubts)
        return [
            *await closed(self.records, ledger.tenant, drafts, DraftStatus.WITHDRAWN, self.now()),
            *await doubts_closed(self.records, ledger.tenant, ledger.run_id, doubts),
        ]
