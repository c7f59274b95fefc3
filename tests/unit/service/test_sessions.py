from __future__ import annotations

import pytest

from quarterdeck.core.answers import Answer
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, InvalidInput, NotFound
from quarterdeck.core.events import FinalAnswer, RunStarted
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.service.intake import cleaned
from quarterdeck.service.sessions import Sessions
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

    history = await sessions.history(HANNA, session.id)

    assert [message.text for message in history] == ["q0", "a0", "q1", "a1", "q2", "a2"]
    assert {message.label.readers for message in history if message.role is Role.ASSISTANT} == {Readers.of("group:hr")}


async def test_history_leaves_out_what_its_reader_may_not_read_any_more(store: MemoryStore) -> None:
    sessions = Sessions(store.journal, store.records)
    session = await sessions.open(HANNA, "a", {})
    await _exchange(store, session.id, "salaries?", "a lot", Readers.of("group:hr"))
    await _exchange(store, session.id, "vpn?", "12 hours", Readers.of("tenant:acme"))

    history = await sessions.history(MOVED, session.id)

    assert [message.text for message in history] == ["vpn?", "12 hours"]


async def test_history_is_bounded_by_exchanges_and_by_characters(store: MemoryStore) -> None:
    few = Sessions(store.journal, store.records, exchanges=2)
    short = Sessions(store.journal, store.records, max_chars=25)
    session = await few.open(HANNA, "a", {})
    for number in range(4):
        await _exchange(store, session.id, f"question {number}", "answer", Readers.of("group:hr"))

    assert [message.text for message in await few.history(HANNA, session.id)][::2] == ["question 2", "question 3"]
    assert [message.text for message in await short.history(HANNA, session.id)][::2] == ["question 3"]


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
