"""The simulated model answers by extraction, says when nothing was found, and claims nothing no result shows."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import DeadlineExceeded
from quarterdeck.core.events import Delta
from quarterdeck.core.messages import Message
from quarterdeck.models.base import Completion, Model, ModelRequest
from quarterdeck.models.simulated import SimulatedModel
from tests.unit.models.talk import (
    BANK,
    CHINESE,
    PARCELS,
    PEOPLE,
    SERVERS,
    ask,
    assistant,
    called,
    calls_of,
    context,
    system,
    user,
)

LEAVE = {
    "id": "leave-1",
    "title": "Annual leave › How much",
    "content": "## How much\nFull-time staff have **30 days** of annual leave a year. Interns have 20 days.\n"
    "Unused days expire on 31 March.",
}
TRAVEL = {
    "id": "travel-4",
    "title": "Travel",
    "content": "# Travel\nTrips are booked in [TripDesk](https://trips.example).\nA hotel may cost up to 160 EUR\n"
    "a night. Flights are\nbooked in economy class.",
}
VPN = {
    "id": "vpn-2",
    "title": "VPN › Set up the VPN",
    "content": "1. Open Software Center and install the client.\n2. Start it and sign in.\n3. Choose the profile Office.",
}
LEAVE_ZH = {"id": "nianjia-1", "title": "年假", "content": "# 年假\n全职员工每年有 15 天年假。未休的年假最多可以结转 5 天。"}
ROOM_ZH = {"id": "huiyi-1", "title": "会议室", "content": "会议室可以提前 14 天预订。"}


async def answer(question: str, *passages: dict[str, str], more: tuple[Message, ...] = (), **request: Any) -> Completion:
    found = called("search_handbook", list(passages), query="q")
    again = called("search_handbook", list(passages), id="t2c0", query="w")
    return await ask(user(question), *found, *again, *more, tools=PEOPLE[:1], **request)


@pytest.mark.row("P3", part="model")
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "How many days of annual leave do full-time staff have?",
            "Full-time staff have 30 days of annual leave a year. [leave-1]",
        ),
        ("When do unused days of leave expire?", "Unused days expire on 31 March. [leave-1]"),
        ("How much may a hotel cost?", "A hotel may cost up to 160 EUR a night. [travel-4]"),
        ("Where are trips booked?", "Trips are booked in TripDesk. [travel-4]"),
        ("全职员工每年有多少天年假？", "全职员工每年有 15 天年假。 [nianjia-1]"),
        ("未休的年假可以结转几天？", "未休的年假最多可以结转 5 天。 [nianjia-1]"),
        ("会议室可以提前多少天预订？", "会议室可以提前 14 天预订。 [huiyi-1]"),
    ],
)
async def test_the_answer_is_the_sentence_that_answers_with_its_passage(question: str, expected: str) -> None:
    completion = await answer(question, TRAVEL, LEAVE, VPN, LEAVE_ZH, ROOM_ZH)

    assert completion.text.startswith(expected)
    assert completion.finish_reason == "stop"


async def test_a_sentence_with_the_words_goes_before_one_that_only_its_heading_has_them_for() -> None:
    carried = {
        "id": "leave-4",
        "title": "Annual leave › Carry over",
        "content": "Up to 5 days of unused leave can be carried over to the next year.",
    }

    completion = await answer("How many days of annual leave do I have?", carried, LEAVE)

    assert completion.text.startswith("Full-time staff have 30 days of annual leave a year. [leave-1]")


@pytest.mark.row("K9", part="weak")
async def test_passages_for_which_the_search_says_that_little_speaks_answer_nothing() -> None:
    strong = [{**LEAVE, "score": 0.6}, {**TRAVEL, "score": 0.3}]
    weak = [{**LEAVE, "score": 0.4}, {**TRAVEL, "score": 0.3}]

    told = await ask(
        user("When do unused days of leave expire?"), *called("search_handbook", strong, query="q"), tools=PEOPLE[:1]
    )
    doubted = [*called("search_handbook", weak, query="q"), *called("search_handbook", weak, id="t2c0", query="w")]
    nothing = await ask(user("When do unused days of leave expire?"), *doubted, tools=PEOPLE[:1])

    assert told.text.startswith("Unused days expire on 31 March. [leave-1]")
    assert nothing.text == "I found nothing that answers this."


async def test_every_sentence_is_copied_from_the_passage_it_names() -> None:
    completion = await answer("How many days of annual leave do staff and interns have?", LEAVE, TRAVEL)

    said = [piece.strip() for piece in completion.text.split("[leave-1]") if piece.strip()]
    plain = LEAVE["content"].replace("**", "")
    assert said
    assert all(sentence in plain for sentence in said)


async def test_an_instruction_is_told_from_its_first_step() -> None:
    completion = await answer("How do I set up the VPN?", LEAVE, VPN)

    assert completion.text == (
        "Open Software Center and install the client. [vpn-2] Start it and sign in. [vpn-2] "
        "Choose the profile Office. [vpn-2]"
    )


async def test_two_questions_are_both_answered() -> None:
    completion = await answer("How much may a hotel cost and when do unused days of leave expire?", LEAVE, TRAVEL)

    assert "160 EUR a night. [travel-4]" in completion.text
    assert "Unused days expire on 31 March. [leave-1]" in completion.text


@pytest.mark.row("K9", part="parts")
@pytest.mark.parametrize(
    ("question", "told", "admitted"),
    [
        ("How much may a hotel cost, and is the sauna paid?", "160 EUR a night. [travel-4]", "about “is the sauna paid”"),
        ("未休的年假可以结转几天？健身房在哪里？", "最多可以结转 5 天。 [nianjia-1]", "关于“健身房在哪里”"),
    ],
)
async def test_a_part_of_the_question_that_nothing_answers_is_admitted(question: str, told: str, admitted: str) -> None:
    completion = await answer(question, LEAVE, TRAVEL, LEAVE_ZH)

    assert told in completion.text
    assert admitted in completion.text


async def test_a_sentence_that_leans_on_the_one_before_is_not_said_without_it() -> None:
    classes = {"id": "classes-1", "title": "Classes", "content": "Internal is for staff. This is the class without a mark."}

    completion = await answer("Which class has a document without a mark?", classes, TRAVEL)

    assert completion.text == "Internal is for staff. [classes-1] This is the class without a mark. [classes-1]"


async def test_words_that_only_ask_for_a_number_need_not_stand_in_the_answer() -> None:
    scans = {"id": "scans-1", "title": "Scans", "content": "A scan may be up to 20 MB. It goes to your own address."}

    completion = await answer("What is the maximum size of a scan?", scans, TRAVEL)

    assert completion.text.startswith("A scan may be up to 20 MB. [scans-1]")


async def test_a_brief_agent_says_less() -> None:
    found = called("search_handbook", [LEAVE, TRAVEL], query="q")
    question = user("How many days of annual leave do staff and interns have?")

    completion = await ask(system("Answer in one sentence."), question, *found, tools=PEOPLE[:1])

    assert completion.text.count("[") == 1


@pytest.mark.row("K9", part="model")
@pytest.mark.parametrize(
    "question",
    [
        "Where can I park my motorbike?",
        "Who is the chief executive?",
        "How much does the canteen charge for lunch?",
        "Does the company pay for a gym membership?",
        "停车位怎么申请？",
        "谁是公司的首席执行官？",
    ],
)
async def test_passages_that_do_not_answer_lead_to_saying_so(question: str) -> None:
    completion = await answer(question, LEAVE, TRAVEL, LEAVE_ZH, ROOM_ZH)

    assert "[" not in completion.text
    assert completion.text in ("I found nothing that answers this.", "我没有找到能回答这个问题的内容。")


@pytest.mark.row("K9", part="model")
async def test_an_empty_search_leads_to_saying_so() -> None:
    completion = await answer("How many days of leave do I have?")

    assert completion.text == "I found nothing that answers this."


async def test_passages_given_before_the_question_are_used_and_cited() -> None:
    given = system(f'Passages:\n[{{"id": "leave-1", "title": "Leave", "content": "{TRAVEL["content"][9:51]}"}}]')

    completion = await ask(given, user("In which system are trips booked?"))

    assert completion.text.endswith("[leave-1]")


def fetched(*passages: dict[str, str]) -> Message:
    """What stands behind a question that was searched for before the model is asked."""
    return user(f"Passages found for this question:\n{json.dumps(passages, ensure_ascii=False)}")


@pytest.mark.row("P3", part="model")
@pytest.mark.parametrize(
    ("question", "found", "source"),
    [("How many days of annual leave do I have?", LEAVE, "leave-1"), ("全职员工有多少天年假？", LEAVE_ZH, "nianjia-1")],
)
async def test_passages_found_before_the_model_was_asked_answer_without_another_search(
    question: str, found: dict[str, str], source: str
) -> None:
    completion = await ask(user(question), fetched(found), tools=PEOPLE)

    assert calls_of(completion) == []
    assert f"[{source}]" in completion.text


async def test_passages_found_for_an_earlier_question_are_no_question_either() -> None:
    before = (user("In which system are trips booked?"), fetched(TRAVEL), assistant("In TripDesk. [travel-4]"))

    completion = await ask(*before, user("How many days of annual leave do I have?"), fetched(LEAVE), tools=PEOPLE)

    assert calls_of(completion) == []
    assert "30 days" in completion.text


@pytest.mark.parametrize("found", [(), (ROOM_ZH,)], ids=["nothing", "something else"])
async def test_a_search_follows_where_what_was_found_first_does_not_answer(found: tuple[dict[str, str], ...]) -> None:
    completion = await ask(user("How many days of annual leave do I have?"), fetched(*found), tools=PEOPLE)

    assert [name for name, _ in calls_of(completion)] == ["search_handbook"]


async def test_a_list_a_person_wrote_below_a_line_of_his_own_is_his_message() -> None:
    completion = await ask(user("Hello"), user('Which of these is the largest:\n["4", "11"]'))

    assert not completion.text.startswith("Hello")


async def test_a_result_is_told_with_the_asked_field_first() -> None:
    result = {"incident_id": "INC0042", "title": "Mail is down", "opened": "2026-03-01", "status": "resolved", "notes": None}

    completion = await ask(
        user("What is the status of INC0042?"), *called("get_incident", result, incident_id="INC0042"), tools=SERVERS
    )

    assert completion.text == "INC0042: status resolved, title Mail is down, opened 2026-03-01."


async def test_a_bare_value_is_named_after_its_tool() -> None:
    completion = await ask(user("How much is in account 7?"), *called("get_balance", "12.5", account_id=7), tools=BANK)

    assert completion.text == "balance (account id 7): 12.5."


async def test_a_list_is_told_row_by_row_and_counted() -> None:
    rows = [{"id": n, "amount": n * 2.5} for n in range(1, 9)]

    completion = await ask(
        user("List the transactions of account 7"), *called("list_transactions", rows, account_id=7), tools=BANK
    )

    assert completion.text.startswith("1: amount 2.5. 2: amount 5.0.")
    assert completion.text.endswith("And 3 more.")


async def test_a_result_is_told_in_chinese_to_a_chinese_user() -> None:
    completion = await ask(
        user("订单 ORD-2001 的状态是什么？"),
        *called("query_order", {"order_id": "ORD-2001", "status": "已发货", "paid": True}, order_id="ORD-2001"),
        tools=CHINESE,
    )

    assert completion.text == "ORD-2001：状态 已发货，付款 是。"


@pytest.mark.parametrize(
    ("result", "expected", "unsaid"),
    [
        ({"tracking_number": "PX1234", "status": "created"}, "Done (create shipment): PX1234: status created.", "draft"),
        ("The call waits for approval (draft 8f2).", "waits for approval; nothing has been done yet", "Done"),
        ("Not done: lee rejected it: the address is incomplete.", "lee rejected it: the address is incomplete.", "Done"),
        ("create_shipment failed: TimeoutError: the carrier is away", "did not work", "Done"),
        ("The write is in doubt: nobody knows whether it happened.", "not known whether this happened", "Done"),
        ("Not done: nobody approved it in time.", "not done", "Done"),
    ],
)
async def test_what_became_of_a_write_is_told_and_no_more(result: Any, expected: str, unsaid: str) -> None:
    completion = await ask(
        user("Create a shipment to Berlin for Anna Schmidt, 2 kg"),
        *called("create_shipment", result, recipient="Anna Schmidt", destination="Berlin", weight_kg=2),
        tools=PARCELS,
    )

    assert expected in completion.text
    assert unsaid not in completion.text
    assert completion.tool_calls == ()


async def test_a_document_that_speaks_of_errors_is_no_error() -> None:
    text = "The export runs at night. " + "It writes a file for each region. " * 10 + "An error is reported by mail."

    completion = await ask(user("When does the export run?"), *called("read_page", text, url="u"), tools=())

    assert "The export runs at night." in completion.text


async def test_a_rejected_sentence_is_not_said_again() -> None:
    first = await answer("How many days of annual leave do staff and interns have?", LEAVE)
    bad = "Full-time staff have 30 days of annual leave a year."
    rejection = user(f"Your answer was rejected:\n- The cited passage does not support this sentence: {bad}")

    second = await answer(
        "How many days of annual leave do staff and interns have?", LEAVE, more=(assistant(first.text), rejection)
    )

    assert bad in first.text
    assert bad not in second.text


async def test_an_answer_rejected_again_and_again_ends_in_saying_that_nothing_was_found() -> None:
    question = "How many days of annual leave do staff have?"
    rejected = (assistant("30 days."), user("Your answer was rejected:\n- It cites sources that were not retrieved."))

    completion = await answer(question, LEAVE, more=(*rejected, *rejected))

    assert completion.text == "I found nothing that answers this."
    assert completion.tool_calls == ()


async def test_a_users_own_word_on_rejections_is_a_question_like_any_other() -> None:
    completion = await ask(user("Why was my leave request rejected?"), tools=PEOPLE)

    assert [call.name for call in completion.tool_calls] == ["search_handbook"]


async def test_a_greeting_is_answered_with_what_can_be_done() -> None:
    english = await ask(user("Hello!"), tools=PEOPLE)
    chinese = await ask(user("你好"), tools=CHINESE)

    assert english.tool_calls == chinese.tool_calls == ()
    assert "simulated model" in english.text
    assert "Search the employee handbook" in english.text
    assert "模拟模型" in chinese.text


async def test_without_anything_to_answer_from_it_says_so() -> None:
    completion = await ask(user("What is the capital of France?"))

    assert completion.text == "I am the simulated model and have nothing to answer this from."


async def test_a_message_that_brings_its_own_material_is_answered_from_it() -> None:
    completion = await ask(
        user("Context: Mount Elbrus is 5642 m high. It is a volcano.\nQuestion: How high is Mount Elbrus?")
    )

    assert completion.text == "Mount Elbrus is 5642 m high."


async def test_what_the_user_said_earlier_can_be_asked_for() -> None:
    completion = await ask(
        user("My badge number is 4711 and my desk is in Leeds."), assistant("Noted."), user("What is my badge number?")
    )

    assert "4711" in completion.text


async def test_results_of_an_earlier_turn_answer_a_follow_up() -> None:
    completion = await ask(
        user("How many days of annual leave do I have?"),
        *called("search_handbook", [LEAVE], query="q"),
        assistant("Full-time staff have 30 days of annual leave a year. [leave-1]"),
        user("And when do unused days expire?"),
    )

    assert completion.text.startswith("Unused days expire on 31 March. [leave-1]")


async def test_the_same_request_always_gives_the_same_reply() -> None:
    request = ModelRequest(
        messages=(
            user("How many days of annual leave do staff have?"),
            *called("search_handbook", [LEAVE, TRAVEL], query="q"),
        ),
        tools=PEOPLE,
    )
    used = SimulatedModel()
    await used.complete(ModelRequest(messages=(user("Reboot web-3"),), tools=SERVERS), context())

    replies = {(await model.complete(request, context())).text for model in (used, used, SimulatedModel())}

    assert len(replies) == 1


@pytest.mark.row("R1", part="simulated")
async def test_a_watched_reply_comes_word_by_word_and_tools_are_announced() -> None:
    model: Model = SimulatedModel()
    seen: list[Delta] = []

    async def emit(delta: Delta) -> None:
        seen.append(delta)

    said = await model.complete(ModelRequest(messages=(user("Hello!"),)), context(), emit)
    words, seen = seen, []
    calling = await model.complete(ModelRequest(messages=(user("Reboot web-3"),), tools=SERVERS), context(), emit)

    assert "".join(delta.text for delta in words) == said.text
    assert [delta.n for delta in words] == list(range(len(words)))
    assert [(delta.kind, delta.text, delta.call_id) for delta in seen] == [
        ("tool_start", "reboot_server", calling.tool_calls[0].id)
    ]


async def test_usage_is_counted_marked_as_estimated_and_free() -> None:
    short = await ask(user("Hello!"))
    long = await ask(system("You answer questions of employees. " * 20), user("Hello!"), tools=SERVERS)

    assert short.usage.estimated
    assert short.usage.cost_usd == 0.0
    assert 0 < short.usage.prompt_tokens < long.usage.prompt_tokens
    assert short.usage.completion_tokens > 0
    assert short.model == "simulated"


async def test_a_reply_longer_than_allowed_is_cut_and_says_so() -> None:
    completion = await answer("How many days of annual leave do staff have?", LEAVE, max_tokens=6)

    assert completion.finish_reason == "length"
    assert completion.usage.completion_tokens <= 6
    assert "Full-time staff have 30 days of annual leave a year.".startswith(completion.text)


async def test_a_caller_who_has_stopped_waiting_gets_no_answer() -> None:
    late = Context(principal=Principal(user="anna", tenant="acme"), run_id="r1", deadline=time.monotonic() - 1)

    with pytest.raises(DeadlineExceeded):
        await SimulatedModel().complete(ModelRequest(messages=(user("Hello!"),)), late)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "?",
        "！！！",
        "a" * 20_000,
        "何" * 20_000,
        "1 " * 5_000,
        "[" * 5_000,
        "\n" * 20_000,
        " " * 20_000,
        '"' * 5_001,
    ],
)
async def test_strange_messages_get_an_answer_soon(text: str) -> None:
    started = time.process_time()

    completion = await ask(user(text), *called("search_handbook", [LEAVE], query="q"), tools=(*PEOPLE, *SERVERS))

    assert completion.model == "simulated"
    assert time.process_time() - started < 2.0


async def test_a_conversation_of_nothing_is_answered() -> None:
    completion = await ask()

    assert completion.text
