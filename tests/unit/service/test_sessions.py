from __future__ import annotations

from collections.abc import Sequence

import pytest

from quarterdeck.core.answers import Answer, Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.events import FinalAnswer, Retrieved, RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers, join_all
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.service.intake import cleaned
from quarterdeck.service.runs import Runs
from quarterdeck.service.sessions import Session, Sessions
from quarterdeck.service.withdrawn import Withdrawals
from quarterdeck.store.base import Entry
from quarterdeck.store.memory import MemoryStore

HANNA = Principal(user="hanna", tenant="acme", groups=("hr",))
MOVED = Principal(user="hanna", tenant="acme", groups=())
TYPED = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:hanna"))


async def _exchange(store: MemoryStore, session_id: str, question: str, answer: str | None, readers: Readers) -> None:
    run_id = new_id()
    message = Message(role=Role.USER, parts=(Text(text=question, label=TYPED),))
    started = RunStarted(input=message, agent="a", config_hash="", tenant="acme", principal=HANNA, session_id=session_id)
    await store.journal.create("acme", run_id, Entry(event=started))
    if answer is not None:
        claim = await store.journal.claim("acme", run_id)
        assert claim is not None
        final = FinalAnswer(answer=Answer(text=answer), stop_reason=StopReason.COMPLETED, label=Label(readers=readers))
        await store.journal.append(claim, [Entry(event=final)], folded=1, status=RunStatus.DONE)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_history_holds_settled_exchanges_with_their_labels_oldest_first(store: MemoryStore) -> None:
    sessions = Sessions(store.journal, store.records)
    session = await sessions.open(HANNA, "a", {})
    for number in range(3):
        await _exchange(store, session.id, f"q{number}", f"a{number}", Readers.of("group:hr"))
    await _exchange(store, session.id, "not answered yet", None, Readers.of("group:hr"))

    history = (await sessions.earlier(HANNA, session.id)).messages

    assert [message.text for message in history] == ["q0", "a0", "q1", "a1", "q2", "a2"]
    assert {message.label.readers for message in history if message.role is Role.ASSISTANT} == {Readers.of("group:hr")}


async def test_history_leaves_out_what_its_reader_may_not_read_any_more(store: MemoryStore) -> None:
    sessions = Sessions(store.journal, store.records)
    session = await sessions.open(HANNA, "a", {})
    await _exchange(store, session.id, "salaries?", "a lot", Readers.of("group:hr"))
    await _exchange(store, session.id, "vpn?", "12 hours", Readers.of("tenant:acme"))

    history = (await sessions.earlier(MOVED, session.id)).messages

    assert [message.text for message in history] == ["vpn?", "12 hours"]


async def test_history_is_bounded_by_exchanges_and_by_characters(store: MemoryStore) -> None:
    few = Sessions(store.journal, store.records, exchanges=2)
    short = Sessions(store.journal, store.records, max_chars=25)
    session = await few.open(HANNA, "a", {})
    for number in range(4):
        await _exchange(store, session.id, f"question {number}", "answer", Readers.of("group:hr"))

    assert [message.text for message in (await few.earlier(HANNA, session.id)).messages][::2] == ["question 2", "question 3"]
    assert [message.text for message in (await short.earlier(HANNA, session.id)).messages][::2] == ["question 3"]


class _Open:
    """An index of which only these documents may be read."""

    def __init__(self, doc_ids: set[str]) -> None:
        self._open = doc_ids

    async def readable(self, tenant: str, doc_ids: Sequence[str], groups: frozenset[str]) -> frozenset[str]:
        return self._open & frozenset(doc_ids)


async def _found(store: MemoryStore, session: Session, passages: Sequence[str]) -> str:
    """One more exchange of the session, which retrieves these; the id of its run."""
    earlier = await Sessions(store.journal, store.records).earlier(HANNA, session.id)
    run_id, readers = new_id(), Readers.of("user:hanna")
    message = Message(role=Role.USER, parts=(Text(text="and?", label=TYPED),))
    started = RunStarted(
        input=message, agent="a", config_hash="", tenant="acme", principal=HANNA, session_id=session.id,
        history=earlier.messages, rests_on=earlier.rests_on,
    )  # fmt: skip
    await store.journal.create("acme", run_id, Entry(event=started))
    claim = await store.journal.claim("acme", run_id)
    assert claim is not None
    found = [
        Passage(id=one, doc_id=one.rpartition("-")[0], title="", text="", label=Label(readers=readers, sources=(one,)))
        for one in passages
    ]
    label = join_all([*(turn.label for turn in earlier.messages), *(passage.label for passage in found)])
    retrieved = Retrieved(turn=1, query="and?", passages=tuple(found), mode="keyword", label=label)
    final = FinalAnswer(answer=Answer(text="as before"), stop_reason=StopReason.COMPLETED, label=label)
    await store.journal.append(claim, [Entry(event=retrieved), Entry(event=final)], folded=1, status=RunStatus.DONE)
    return run_id


@pytest.mark.row("K7", part="old runs")
@pytest.mark.parametrize("documents", [10, 200], ids=["few sources", "more sources than a label holds"])
async def test_an_answer_that_may_repeat_a_withdrawn_document_is_left_out_however_long_the_conversation(
    store: MemoryStore, documents: int
) -> None:
    session = await Sessions(store.journal, store.records).open(HANNA, "a", {})
    names = [f"doc{number}" for number in range(documents)]
    before = await _found(store, session, [f"{name}-1" for name in names[1:]])
    runs = [await _found(store, session, ["doc0-1"]), *[await _found(store, session, []) for _ in range(8)]]

    withdrawals = Withdrawals(_Open(set(names) - {"doc0"}))
    views = [await Runs(store.journal, withdrawals).view(HANNA, run_id) for run_id in (before, *runs)]
    told = await Sessions(store.journal, store.records, withdrawals=withdrawals).messages(HANNA, session.id)

    assert [view.withheld for view in views] == [False] + [True] * 9
    assert [message.role for message in told].count(Role.ASSISTANT) == 1


async def test_session_belongs_to_the_one_who_opened_it(store: MemoryStore) -> None:
    sessions = Sessions(store.journal, store.records)
    session = await sessions.open(HANNA, "a", {"page": 1})

    for other in (Principal(user="emma", tenant="acme"), Principal(user="hanna", tenant="globex")):
        with pytest.raises(NotFound):
            await sessions.get(other, session.id)
        assert await sessions.mine(other) == []
    assert (await sessions.get(HANNA, session.id)).context == {"page": 1}


async def test_closing_twice_changes_nothing_and_closed_takes_no_question(store: MemoryStore) -> None:
    sessions = Sessions(store.journal, store.records)
    session = await sessions.open(HANNA, "a", {})

    states = [(await sessions.close(HANNA, session.id)).state for _ in range(2)]

    assert states == ["closed", "closed"]
    with pytest.raises(Conflict):
        await sessions.active(HANNA, session.id)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\x00\x1b", "\U000e0041\u202e", "\u2003\u3000"])
def test_text_with_nothing_to_see_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        cleaned(text)


@pytest.mark.parametrize("text", ["plain", "你好，世界", "👩‍👩‍👧", "مرحبا", "a\tb\nc", "e\u0301"])
def test_text_that_is_seen_stays_to_the_letter(text: str) -> None:
    assert cleaned(text) == text
