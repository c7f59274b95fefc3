"""Answers that are given again, and to whom they are not (row K11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from quarterdeck.agent.base import Remembered
from quarterdeck.agent.state import RunState
from quarterdeck.core.answers import Asked, Confidence, Given
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import Fenced, StoreUnavailable
from quarterdeck.core.events import CancelRequested, FinalAnswer, ModelReply, Retrieved, RunCancelled, Steer
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, RunStatus, StopReason
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import Document
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.parsers import markdown
from quarterdeck.knowledge.remembered import RememberedAnswers, normalised
from quarterdeck.knowledge.search import Searcher
from quarterdeck.knowledge.tool import search_tool
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Claim, Entry, Journal
from quarterdeck.store.cache import MemoryCache, Shelf
from tests.unit.agent.scene import Scene, calls, says

MARK = "zanzibar-47"  # stands in closed articles alone
QUESTION = "How many days of annual leave does every employee have?"
ARTICLE = f"# Annual leave\n\nEvery employee has 30 days of annual leave per year, says {MARK}."
ANSWER = says(f"Every employee has 30 days of annual leave per year, says {MARK}. [leave-1]")
ANNA = Principal(user="anna", tenant="acme", groups=("everyone", "staff"))
BEN = Principal(user="ben", tenant="acme", groups=("everyone", "staff"))
REMEMBERS = AgentSpec(name="desk", model="test:scripted", retrieve="always", answer_cache=True)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    await put(opened, "leave", ARTICLE, "staff")
    yield opened
    await opened.close()


async def put(index: SqliteIndex, id: str, source: str, *groups: str, trusted: bool = True) -> None:
    parsed = markdown.parse(source.encode())
    document = Document(
        id=id, tenant="acme", title=parsed.title, text=parsed.text, groups=frozenset(groups), trusted=trusted
    )
    await index.upsert(document, split(parsed.text, parsed.blocks))


class Desk:
    """One agent with a memory; each question is a run of its own, answered by a model that says the same every time."""

    def __init__(self, index: SqliteIndex, *, ttl_s: float = 86_400.0) -> None:
        self.index = index
        self.cache = MemoryCache()
        self.shelf = Shelf(self.cache, "answers", ttl_s=ttl_s)
        self.remembered: Remembered = RememberedAnswers(index, self.shelf)
        self.spec = REMEMBERS
        self.reply = ANSWER
        self.scene: Scene

    def scened(self, **made: Any) -> Scene:
        replies = made.pop("replies", (self.reply,))
        self.scene = Scene(*replies, spec=self.spec, retriever=Searcher(self.index), remembered=self.remembered, **made)
        return self.scene

    async def ask(self, text: str = QUESTION, who: Principal = ANNA, **started: Any) -> RunState:
        return await self.scened().ask(text, principal=who, **started)

    @property
    def asked_model(self) -> bool:
        return bool(self.scene.model.requests)


@pytest.fixture
def desk(index: SqliteIndex) -> Desk:
    return Desk(index)


@pytest.mark.row("K11", part="answers")
async def test_a_sure_answer_is_given_again_without_the_model(desk: Desk) -> None:
    first = await desk.ask()
    second = await desk.ask("  how many days of ANNUAL leave does every employee have ")

    assert isinstance(first.ended, FinalAnswer)
    assert isinstance(second.ended, FinalAnswer)
    assert first.ended.answer.confidence is Confidence.HIGH
    assert not desk.asked_model
    assert second.ended.answer == first.ended.answer
    assert second.usage == Usage()


@pytest.mark.row("K11", part="answers")
async def test_the_journal_says_that_an_answer_was_remembered(desk: Desk) -> None:
    await desk.ask()

    await desk.ask()

    _, found, said, ended = [entry.event for entry in await desk.scene.entries()]
    assert isinstance(found, Retrieved)
    assert (found.mode, [passage.id for passage in found.passages]) == ("cache", ["leave-1"])
    assert isinstance(said, ModelReply)
    assert (said.route, said.usage, said.attempts) == ("answers: remembered", Usage(), 0)
    assert isinstance(ended, FinalAnswer)
    assert ended.stop_reason is StopReason.COMPLETED


@pytest.mark.row("K11", part="labels")
async def test_a_remembered_answer_has_the_label_it_had(desk: Desk) -> None:
    await put(desk.index, "leave", ARTICLE, "staff", trusted=False)
    first = await desk.ask()

    second = await desk.ask()

    assert isinstance(first.ended, FinalAnswer)
    assert isinstance(second.ended, FinalAnswer)
    assert second.ended.label == first.ended.label
    assert second.ended.label.integrity is Integrity.UNTRUSTED
    assert second.label.readers == Readers.of("group:staff")
    assert not desk.asked_model


@pytest.mark.row("K11", part="answers")
async def test_agents_do_not_remember_unless_told_to(desk: Desk) -> None:
    desk.spec = replace(REMEMBERS, answer_cache=False)
    await desk.ask()

    await desk.ask()

    assert desk.asked_model
    assert AgentSpec(name="a", model="b").answer_cache is False


@pytest.mark.row("K11", part="answers")
async def test_colleagues_with_the_same_groups_share_an_answer_whose_label_admits_them(desk: Desk) -> None:
    await desk.ask(who=ANNA)

    state = await desk.ask(who=BEN)

    assert not desk.asked_model
    assert isinstance(state.ended, FinalAnswer)
    assert MARK in state.ended.answer.text


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
@pytest.mark.parametrize(
    "who",
    [
        replace(BEN, groups=("everyone",)),
        replace(BEN, groups=("everyone", "staff", "guests")),
        replace(ANNA, groups=()),
        replace(ANNA, tenant="globex"),
    ],
    ids=["fewer groups", "other groups", "no group", "another tenant"],
)
async def test_others_are_not_given_the_answer(desk: Desk, who: Principal) -> None:
    await desk.ask(who=ANNA)
    scene = desk.scened(replies=(says("I found nothing about that."),))
    await scene.begin(QUESTION, principal=ANNA)
    started = (await scene.state()).started
    assert started is not None
    asked = Asked(question=QUESTION, principal=ANNA, agent=started.config_hash, policy=scene.policy.version)

    own = await desk.remembered.recall(asked)
    others = await desk.remembered.recall(replace(asked, principal=who))

    assert own is not None
    assert others is None


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_an_answer_made_from_what_is_open_to_one_person_alone_is_given_to_no_other(desk: Desk) -> None:
    await put(desk.index, "leave", ARTICLE, "user:anna")
    await desk.ask(who=ANNA)
    desk.reply = says("I found nothing about that.")

    again = await desk.ask(who=ANNA)
    own = desk.asked_model
    other = await desk.ask(who=BEN)

    assert not own
    assert MARK in repr(again.ended)
    assert desk.asked_model
    assert MARK not in repr(other)


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_an_answer_is_closed_to_whom_its_label_does_not_admit(desk: Desk) -> None:
    passages, _ = await Searcher(desk.index).search(QUESTION, Context(principal=ANNA, run_id="r", deadline=1e12))
    asked = Asked(question=QUESTION, principal=ANNA, agent="a", policy="p")
    label = Label(readers=Readers.of("user:anna"), sources=("leave-1",))  # it was made from something else beside them
    given = Given(text="30 days. [leave-1]", model="m", passages=tuple(passages), label=label)

    await desk.remembered.keep(asked, given)
    own = await desk.remembered.recall(asked)
    other = await desk.remembered.recall(replace(asked, principal=BEN))

    assert own == given
    assert other is None


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_a_permission_that_is_taken_away_is_effective_at_once(desk: Desk) -> None:
    await desk.ask()
    await desk.index.set_groups("acme", "leave", frozenset({"board"}))
    desk.reply = says("I found nothing about that.")

    state = await desk.ask()

    assert desk.asked_model
    assert MARK not in repr(state)
    assert desk.shelf.stale == 1


@pytest.mark.row("K7", part="caches")
@pytest.mark.row("K11", part="permissions")
async def test_rights_are_those_the_asker_has_now_and_not_those_of_the_request(desk: Desk) -> None:
    await desk.ask()
    scene = desk.scened(replies=(says("I found nothing about that."),))
    scene.staff.present["anna"] = replace(ANNA, groups=("everyone",))

    state = await scene.ask(QUESTION, principal=ANNA)

    assert MARK not in repr(state.ended)
    assert scene.model.requests


@pytest.mark.row("K11", part="dropped")
@pytest.mark.parametrize("change", ["text", "title", "deleted"])
async def test_an_answer_is_dropped_with_its_source(desk: Desk, change: str) -> None:
    await desk.ask()
    match change:
        case "text":
            await put(desk.index, "leave", ARTICLE.replace("30 days", "25 days"), "staff")
        case "title":
            await put(desk.index, "leave", ARTICLE.replace("# Annual leave", "# Leave until 2025"), "staff")
        case "deleted":
            await desk.index.delete("acme", ["leave"])
    desk.reply = says("I found nothing about that.")

    state = await desk.ask()

    assert desk.asked_model
    assert isinstance(state.ended, FinalAnswer)
    assert "30 days" not in state.ended.answer.text


async def test_a_change_elsewhere_leaves_the_answer(desk: Desk) -> None:
    await desk.ask()
    await put(desk.index, "garage", "# Garage\n\nIt is below the yard.", "staff")

    await desk.ask()

    assert not desk.asked_model


@pytest.mark.parametrize("changed", ["instructions", "policy"])
async def test_another_agent_or_policy_is_another_question(desk: Desk, changed: str) -> None:
    await desk.ask()
    if changed == "instructions":
        desk.spec = replace(REMEMBERS, instructions="Answer in rhymes.")
        await desk.ask()
    else:
        scene = desk.scened()

        class Other:
            version = "another"

            def __getattr__(self, name: str) -> Any:
                return getattr(scene.policy, name)

        scene.loop.policy = Other()  # type: ignore[assignment]  # what it lacks is the inner policy's
        await scene.ask(QUESTION, principal=ANNA)

    assert desk.asked_model


SEARCH = calls(("search_knowledge_base", {"query": "annual leave"}))


def balance(account: str) -> str:
    """Tell the balance of an account."""
    return f"The balance of {account} is 5."


@pytest.mark.row("K11", part="answers")
async def test_an_answer_for_which_the_model_searched_is_remembered_too(desk: Desk) -> None:
    desk.spec = replace(REMEMBERS, retrieve="tool")
    tools = [search_tool(Searcher(desk.index))]
    await desk.scened(replies=(SEARCH, ANSWER), tools=tools).ask(QUESTION, principal=ANNA)

    again = desk.scened(replies=(), tools=tools)
    state = await again.ask(QUESTION, principal=ANNA)

    assert isinstance(state.ended, FinalAnswer)
    assert MARK in state.ended.answer.text


@pytest.mark.row("K11", part="answers")
async def test_an_answer_that_rests_on_another_tool_is_not_remembered(desk: Desk) -> None:
    desk.spec = replace(REMEMBERS, retrieve="tool")
    tools = [search_tool(Searcher(desk.index)), balance]
    both = calls(("search_knowledge_base", {"query": "annual leave"}), ("balance", {"account": "7"}))
    state = await desk.scened(replies=(both, ANSWER), tools=tools).ask(QUESTION, principal=ANNA)

    found = await desk.shelf.get("acme", [key.partition(":")[2] for _, key in desk.cache._kept])

    assert isinstance(state.ended, FinalAnswer)
    assert found == {}


UNSURE: dict[str, Callable[[], Any]] = {
    "without a source": lambda: says("I found nothing about that."),
    "partly supported": lambda: says(f"{ANSWER.text} Contractors have as many days, and so do interns and trainees."),
}


@pytest.mark.row("K11", part="answers")
@pytest.mark.parametrize("why", UNSURE)
async def test_an_answer_that_is_not_sure_is_not_remembered(desk: Desk, why: str) -> None:
    desk.reply = UNSURE[why]()
    first = await desk.ask()
    desk.reply = ANSWER

    await desk.ask()

    assert isinstance(first.ended, FinalAnswer)
    assert first.ended.answer.confidence is not Confidence.HIGH
    assert desk.asked_model


def said(text: str, role: Role = Role.USER) -> Message:
    return Message(role=role, parts=(Text(text=text, label=Label(readers=Readers.of("user:anna"))),))


@pytest.mark.row("K11", part="answers")
@pytest.mark.parametrize(
    "started",
    [{"history": (said("Hello."), said("Hello!", Role.ASSISTANT))}, {"parent": "r-1", "node": "n"}],
    ids=["history", "node of a topology"],
)
async def test_a_question_that_does_not_stand_alone_is_neither_remembered_nor_recalled(
    desk: Desk, started: dict[str, Any]
) -> None:
    await desk.ask(**started)
    await desk.ask()
    first = desk.asked_model

    await desk.ask(**started)

    assert first
    assert desk.asked_model


async def test_a_run_that_was_sent_a_further_message_is_not_recalled(desk: Desk) -> None:
    await desk.ask()
    scene = desk.scened()
    await scene.begin(QUESTION, principal=ANNA)
    label = Label(integrity=Integrity.TRUSTED, readers=Readers.of("user:anna"))
    message = Message(role=Role.USER, parts=(Text(text="And contractors?", label=label),))
    await scene.post(Steer(by="anna", message=message))

    await scene.go_on()

    assert scene.model.requests


async def test_a_run_that_was_cancelled_is_not_recalled(desk: Desk) -> None:
    await desk.ask()
    scene = desk.scened(replies=())
    await scene.begin(QUESTION, principal=ANNA)
    await scene.post(CancelRequested(by="anna"))

    state = await scene.go_on()

    assert isinstance(state.ended, RunCancelled)


async def test_an_answer_that_was_recalled_does_not_live_longer_for_it(desk: Desk) -> None:
    await desk.ask()
    before = [kept.until for kept in desk.cache._kept.values()]

    await desk.ask()

    assert [kept.until for kept in desk.cache._kept.values()] == before


class Broken:
    """A memory that does not answer, or too late."""

    def __init__(self, *, late: bool) -> None:
        self.late = late

    async def recall(self, asked: Asked) -> Given | None:
        if self.late:
            await anyio.sleep_forever()
        raise StoreUnavailable("the index does not answer")

    async def keep(self, asked: Asked, given: Given) -> None:
        raise StoreUnavailable("the index does not answer")

    async def forget(self, asked: Asked) -> None:
        raise StoreUnavailable("the index does not answer")


@pytest.mark.row("K11", part="outage")
@pytest.mark.parametrize("late", [False, True], ids=["away", "late"])
async def test_a_run_goes_on_without_a_memory_that_does_not_answer(desk: Desk, late: bool) -> None:
    desk.remembered = Broken(late=late)
    scene = desk.scened()
    scene.loop.search_timeout_s = 0.2 if late else 5.0

    with anyio.fail_after(10):
        state = await scene.ask(QUESTION, principal=ANNA)

    assert isinstance(state.ended, FinalAnswer)
    assert scene.model.requests


async def test_what_another_version_wrote_is_not_given(desk: Desk) -> None:
    await desk.ask()
    for place, kept in list(desk.cache._kept.items()):
        await desk.cache.put("acme", {place[1]: replace(kept, value=b'{"text": 7}')})

    await desk.ask()

    assert desk.asked_model


class Ending(JournalAround):
    """A journal in which something happens when a run ends, before whoever ended it hears of it."""

    def __init__(self, journal: Journal, then: Callable[[], Awaitable[None]]) -> None:
        super().__init__(journal)
        self._then = then

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        appended = await super().append(claim, entries, **fields)
        if fields.get("status") is RunStatus.DONE:
            await self._then()
        return appended


@pytest.mark.row("G11", part="answers")
async def test_what_is_forgotten_once_a_run_has_ended_is_not_remembered_after_it(desk: Desk) -> None:
    async def erase() -> None:
        await desk.shelf.forget("acme")

    scene = desk.scened()
    scene.loop = scene.new_loop(Ending(scene.store.journal, erase))

    state = await scene.ask(QUESTION, principal=ANNA)

    assert isinstance(state.ended, FinalAnswer)
    assert not desk.cache._kept


@pytest.mark.row("G11", part="answers")
async def test_a_worker_that_lost_its_run_leaves_no_answer_behind(desk: Desk) -> None:
    async def lost() -> None:
        raise Fenced("another worker has the run")

    scene = desk.scened()
    scene.loop = scene.new_loop(Ending(scene.store.journal, lost))
    await scene.begin(QUESTION, principal=ANNA)

    await scene.loop.advance("acme", scene.run_id)

    assert scene.model.requests
    assert not desk.cache._kept


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("How many days?", "how  many days", True),
        ("有多少天年假？", "有多少天年假", True),
        ("How many days!", "How many days…", True),
        ("ＶＰＮ error 809", "VPN error 809", True),
        ("VPN error 809", "VPN error 691", False),
        ("Who may?", "Who may not?", False),
        ("Is it 1.5?", "Is it 15?", False),
    ],
)
def test_questions_are_compared_without_what_changes_nothing_in_them(one: str, other: str, same: bool) -> None:
    assert (normalised(one) == normalised(other)) is same
