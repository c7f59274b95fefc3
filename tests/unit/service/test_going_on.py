"""Old events are gone on from only while the one who asked may read what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden
from quarterdeck.core.events import Retrieved, RunFailed, RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.service.controls import Controls, Fork
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore

HANNA = Principal(user="hanna", tenant="acme", groups=("hr",), scopes=("chat",))
MOVED = replace(HANNA, groups=())
OMAR = Principal(user="omar", tenant="acme", groups=("hr",), scopes=("operate",))
PLAN = Passage(
    id="plan-1",
    doc_id="plan",
    title="",
    text="",
    label=Label(readers=Readers.of("group:hr"), sources=("plan-1",)),
)


@dataclass
class World:
    """A run that asked, was given a passage of a document, and failed; what may still be read, and who Hanna is now."""

    store: MemoryStore = field(default_factory=MemoryStore)
    documents: set[str] = field(default_factory=lambda: {"plan"})
    hanna: Principal | None = HANNA
    woken: list[str] = field(default_factory=list)
    run_id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        self.controls = Controls(
            journal=self.store.journal,
            records=self.store.records,
            specs=self,  # type: ignore[arg-type]  # neither command reads one
            dispatcher=self,
            directory=self,
            interrupt=lambda tenant, run_id: None,
            withdrawals=Withdrawals(self),
        )

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        return self.documents & frozenset(doc_ids)

    async def current(self, principal: Principal) -> Principal | None:
        return self.hanna if principal.user == "hanna" else principal

    async def wake(self, tenant: str, run_id: str) -> None:
        self.woken.append(run_id)

    async def begin(self) -> None:
        typed = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:hanna"))
        message = Message(role=Role.USER, parts=(Text(text="What is planned?", label=typed),))
        started = RunStarted(input=message, agent="a", config_hash="", tenant="acme", principal=HANNA)
        await self.store.journal.create("acme", self.run_id, Entry(event=started))
        claim = await self.store.journal.claim("acme", self.run_id)
        assert claim is not None
        retrieved = Retrieved(turn=1, query="planned", passages=(PLAN,), mode="keyword", label=PLAN.label)
        failed = RunFailed(code="model_unavailable", error="away", stop_reason=StopReason.MODEL_FAILED)
        entries = [Entry(event=retrieved), Entry(event=failed)]
        await self.store.journal.append(claim, entries, folded=1, status=RunStatus.FAILED)


@pytest.fixture
async def world() -> World:
    made = World()
    await made.begin()
    return made


@pytest.mark.row("K7", part="forks")
@pytest.mark.parametrize("by", [HANNA, OMAR], ids=["who asked", "an operator"])
async def test_a_run_that_was_given_a_document_since_withdrawn_is_neither_forked_behind_it_nor_tried_again(
    world: World, by: Principal
) -> None:
    world.documents.clear()

    with pytest.raises(Forbidden, match="user hanna may not read"):
        await world.controls.fork(by, world.run_id, Fork(at=2))
    with pytest.raises(Forbidden, match="user hanna may not read"):
        await world.controls.retry(by, world.run_id)

    assert world.woken == []
    assert await world.store.records.audit_rows("acme") == []


@pytest.mark.row("K7", part="forks")
async def test_it_is_forked_before_the_document_was_given(world: World) -> None:
    world.documents.clear()

    view = await world.controls.fork(HANNA, world.run_id, Fork(at=1))

    assert world.woken == [view.run_id]
    assert view.sources.isdisjoint({"plan-1"})


@pytest.mark.row("K7", part="forks")
@pytest.mark.parametrize(("by", "hanna"), [(MOVED, MOVED), (OMAR, MOVED), (OMAR, None)])
async def test_from_what_was_for_a_group_nobody_goes_on_for_who_left_it(
    world: World, by: Principal, hanna: Principal | None
) -> None:
    world.hanna = hanna

    with pytest.raises(Forbidden):
        await world.controls.fork(by, world.run_id, Fork(at=2))
    with pytest.raises(Forbidden):
        await world.controls.retry(by, world.run_id)


async def test_a_run_whose_documents_are_open_is_forked_and_tried_again(world: World) -> None:
    view = await world.controls.fork(HANNA, world.run_id, Fork(at=2))
    await world.controls.retry(HANNA, world.run_id)

    assert world.woken == [view.run_id, world.run_id]
