"""The simulated model chooses tools by their schemas and fills their arguments from the user's words."""

from __future__ import annotations

from typing import Any

import pytest

from quarterdeck.core.messages import ToolCall
from quarterdeck.models.base import ModelRequest, ToolSpec
from quarterdeck.models.simulated import SimulatedModel
from tests.unit.models.talk import (
    BANK,
    CALENDAR,
    CHINESE,
    DAY,
    MAIL,
    NUMBER,
    OFFICE,
    PARCELS,
    PEOPLE,
    SERVERS,
    WEATHER,
    WHOLE,
    WORDS,
    ask,
    assistant,
    called,
    calls_of,
    context,
    one_of,
    tool,
    user,
)

# What is said, with which tools on offer, the tool it wants, and what its arguments hold at least.
WANTED: list[tuple[str, tuple[ToolSpec, ...], str, dict[str, Any]]] = [
    ("How much is in account 7?", BANK, "get_balance", {"account_id": 7}),
    (
        "Transfer 250.50 from account 12 to account 99",
        BANK,
        "transfer_money",
        {"from_account": 12, "to_account": 99, "amount": 250.5},
    ),
    ("Show me the last 5 transactions of account 12", BANK, "list_transactions", {"account_id": 12, "limit": 5}),
    ("What is the weather in Paris?", WEATHER, "get_forecast", {"city": "Paris"}),
    ("will it rain in oslo tomorrow?", WEATHER, "get_forecast", {"city": "oslo"}),
    (
        "Weather in Berlin for 3 days in Fahrenheit",
        WEATHER,
        "get_forecast",
        {"city": "Berlin", "days": 3, "unit": "fahrenheit"},
    ),
    ("上海明天天气怎么样？", WEATHER, "get_forecast", {"city": "上海"}),
    (
        'Create an event "Budget review" on 2026-05-04 at 3pm with ann@x.org and bob@x.org',
        CALENDAR,
        "create_event",
        {"title": "Budget review", "date": "2026-05-04", "start_time": "15:00", "attendees": ["ann@x.org", "bob@x.org"]},
    ),
    ("What meetings do I have on May 4th, 2026?", CALENDAR, "list_events", {"date": "2026-05-04"}),
    ("Please cancel EV-204", CALENDAR, "cancel_event", {"event_id": "EV-204"}),
    (
        "Schedule a meeting about the roadmap on 4 May 2026",
        CALENDAR,
        "create_event",
        {"title": "Roadmap", "date": "2026-05-04"},
    ),
    ("How many days of parental leave do I get?", PEOPLE, "search_handbook", {"query": "days parental leave"}),
    (
        "I would like to request annual leave from 2026-07-01 to 2026-07-10",
        PEOPLE,
        "request_leave",
        {"start_date": "2026-07-01", "end_date": "2026-07-10", "kind": "annual"},
    ),
    ("How many days of leave does E1234 have left?", PEOPLE, "get_leave_balance", {"employee_id": "E1234"}),
    ("Where is my parcel PX998877?", PARCELS, "track_parcel", {"tracking_number": "PX998877"}),
    ("Cancel shipment PX112233 please", PARCELS, "cancel_shipment", {"tracking_number": "PX112233"}),
    (
        "Create an express shipment to Berlin for Anna Schmidt, 2.5 kg",
        PARCELS,
        "create_shipment",
        {"recipient": "Anna Schmidt", "destination": "Berlin", "weight_kg": 2.5, "express": True},
    ),
    (
        "Send an email to bob@example.com about the delayed delivery",
        MAIL,
        "send_email",
        {"to": "bob@example.com", "subject": "Delayed delivery"},
    ),
    ("Find the mail from Lisa about the invoice", MAIL, "search_mail", {"query": "mail Lisa invoice"}),
    (
        "Please open an incident: the payment page is down, urgent",
        SERVERS,
        "create_incident",
        {"title": "Payment page is down, urgent", "severity": "high"},
    ),
    ("What is the status of INC0042?", SERVERS, "get_incident", {"incident_id": "INC0042"}),
    ("Reboot web-3", SERVERS, "reboot_server", {"server_id": "web-3"}),
    ("帮我开一个打印机坏了的工单", CHINESE, "create_ticket", {"title": "打印机坏了", "priority": "medium"}),
    ("请创建工单：VPN 连不上，很紧急", CHINESE, "create_ticket", {"priority": "high"}),
    ("订单 ORD-2001 到哪了？", CHINESE, "query_order", {"order_id": "ORD-2001"}),
    ("年假有几天？", CHINESE, "search_kb", {"query": "年假"}),
    ("请预订会议室，2026年5月4日，8人", CHINESE, "book_room", {"date": "2026-05-04", "people": 8}),
    (
        "Convert 100 USD to EUR",
        OFFICE,
        "convert_currency",
        {"amount": 100, "from_currency": "USD", "to_currency": "EUR"},
    ),
    (
        'Translate "good morning" into French',
        OFFICE,
        "translate_text",
        {"text": "good morning", "target_language": "French"},
    ),
    ("Fetch https://example.com/a.html", OFFICE, "fetch_page", {"url": "https://example.com/a.html"}),
    ("Remind me to call mum at 18:00", OFFICE, "set_reminder", {"time": "18:00"}),
    (
        "Book a flight from Paris to New York on 2026-06-01 for two passengers in business",
        OFFICE,
        "book_flight",
        {
            "from_city": "Paris",
            "to_city": "New York",
            "departure_date": "2026-06-01",
            "passengers": 2,
            "cabin": "business",
        },
    ),
    ("Find Italian restaurants in Rome", OFFICE, "find_restaurants", {"city": "Rome"}),
]


@pytest.mark.row("P3", part="model")
@pytest.mark.row("R1", part="simulated")
@pytest.mark.parametrize(("said", "tools", "name", "args"), WANTED, ids=[case[0] for case in WANTED])
async def test_the_tool_that_is_meant_is_called_with_what_was_said(
    said: str, tools: tuple[ToolSpec, ...], name: str, args: dict[str, Any]
) -> None:
    completion = await ask(user(said), tools=tools)

    assert completion.finish_reason == "tool_calls"
    assert [call.name for call in completion.tool_calls] == [name]
    assert args.items() <= completion.tool_calls[0].args.items()


@pytest.mark.parametrize(
    ("said", "tools"),
    [
        ("How do I transfer money?", BANK),
        ("How do I request sick leave?", PEOPLE),
        ("Can I request unpaid leave?", PEOPLE),
        ("Who may open an incident?", SERVERS),
        ("Do not open an incident, just tell me how to clear the cache", SERVERS),
        ("How do I reboot a server?", SERVERS),
        ("Is web-3 a server we reboot on Sundays?", SERVERS),
        ("如何创建工单？", CHINESE),
        ("创建工单需要多久？", CHINESE),
        ("先不要创建工单，工单的优先级有哪些？", CHINESE),
        ("I read about an incident yesterday.", SERVERS),
    ],
)
async def test_a_question_about_an_act_never_proposes_the_act(said: str, tools: tuple[ToolSpec, ...]) -> None:
    writes = {"transfer_money", "request_leave", "create_incident", "reboot_server", "create_ticket", "book_room"}

    completion = await ask(user(said), tools=tools)

    assert not writes & {call.name for call in completion.tool_calls}


@pytest.mark.parametrize(
    "said",
    [
        "Open an incident because the login page is down",
        "The login page is down. Please open an incident.",
        "Could you please raise an incident, the login page is down?",
        "I want to report an incident: the login page is down",
        "I need an incident for the login page that is down",
    ],
)
async def test_a_request_in_any_form_proposes_the_act(said: str) -> None:
    completion = await ask(user(said), tools=SERVERS)

    assert [call.name for call in completion.tool_calls] == ["create_incident"]
    assert "login page" in completion.tool_calls[0].args["title"].lower()


async def test_undoing_is_never_taken_for_doing() -> None:
    create = tool("create_booking", "Create a booking for a room.", "room", room=WORDS)

    completion = await ask(user("Please delete the booking for room A12"), tools=(create,))

    assert completion.tool_calls == ()


async def test_two_ids_give_two_calls() -> None:
    completion = await ask(user("Where are PX998877 and PX112233?"), tools=PARCELS)

    assert calls_of(completion) == [
        ("track_parcel", {"tracking_number": "PX998877"}),
        ("track_parcel", {"tracking_number": "PX112233"}),
    ]
    assert len({call.id for call in completion.tool_calls}) == 2


async def test_two_places_give_two_calls_and_an_afterthought_gives_none() -> None:
    completion = await ask(user("What is the weather in Paris and Rome, and please in Fahrenheit?"), tools=WEATHER)

    assert [call.args["city"] for call in completion.tool_calls] == ["Paris", "Rome"]


async def test_two_different_things_are_asked_of_two_tools() -> None:
    completion = await ask(user("What is the status of INC0042 and how do I clear the cache?"), tools=SERVERS)

    assert calls_of(completion) == [
        ("get_incident", {"incident_id": "INC0042"}),
        ("search_docs", {"query": "clear cache"}),
    ]


async def test_what_is_missing_is_asked_for_in_the_language_of_the_user() -> None:
    english = await ask(user("What is the weather?"), tools=WEATHER)
    chinese = await ask(user("请查询我的订单状态"), tools=CHINESE[2:3])

    assert english.tool_calls == chinese.tool_calls == ()
    assert "city" in english.text
    assert english.text.endswith("?")
    assert "ORD" in chinese.text
    assert chinese.text.endswith("？")


async def test_an_answer_to_our_question_completes_the_request() -> None:
    first = await ask(user("Open an incident"), tools=SERVERS)

    second = await ask(
        user("Open an incident"), assistant(first.text), user("The mail server rejects every login"), tools=SERVERS
    )

    assert [call.name for call in second.tool_calls] == ["create_incident"]
    assert second.tool_calls[0].args["title"] == "The mail server rejects every login".removeprefix("The ").capitalize()


async def test_a_follow_up_keeps_the_topic_of_the_question_before() -> None:
    completion = await ask(
        user("How many days of parental leave do employees get?"),
        assistant("12 weeks."),
        user("And for contractors?"),
        tools=PEOPLE,
    )

    ((name, args),) = calls_of(completion)
    assert name == "search_handbook"
    assert {"parental", "leave", "contractors"} <= set(args["query"].split())


async def test_a_follow_up_keeps_the_tool_of_the_question_before() -> None:
    english = await ask(
        user("What is the status of INC0042?"), assistant("INC0042: open."), user("And INC0043?"), tools=SERVERS
    )
    chinese = await ask(
        user("订单 ORD-2001 的状态是什么？"), assistant("ORD-2001：已发货。"), user("那 ORD-2002 呢？"), tools=CHINESE
    )

    assert calls_of(english) == [("get_incident", {"incident_id": "INC0043"})]
    assert calls_of(chinese) == [("query_order", {"order_id": "ORD-2002"})]


async def test_it_means_what_was_spoken_of_last() -> None:
    completion = await ask(
        user("Where is my parcel PX998877?"),
        assistant("PX998877: in transit."),
        user("Please cancel this shipment"),
        tools=PARCELS,
    )

    assert calls_of(completion) == [("cancel_shipment", {"tracking_number": "PX998877"})]


async def test_a_new_question_does_not_drag_the_old_one_along() -> None:
    completion = await ask(
        user("How many days of parental leave do employees get?"),
        assistant("12 weeks."),
        user("Which browsers does the payroll portal support?"),
        tools=PEOPLE,
    )

    assert calls_of(completion) == [("search_handbook", {"query": "browsers payroll portal support"})]


async def test_values_of_every_kind_are_found() -> None:
    book = tool(
        "book_room",
        "Book a meeting room.",
        "room date people equipment contact",
        room={"type": "string", "pattern": "^R-[0-9]{3}$"},
        date=DAY,
        people={"type": "integer", "minimum": 1, "maximum": 50},
        equipment={"type": "array", "items": one_of("projector", "whiteboard", "phone")},
        contact={
            "type": "object",
            "properties": {"email": {"type": "string", "format": "email"}},
            "required": ["email"],
        },
        catering={"type": "boolean"},
        size=one_of("small", "medium", "large"),
    )

    completion = await ask(
        user("Book room r-204 on 3/14/2027 for 12 people with projector and whiteboard, no catering, contact li@x.org"),
        tools=(book,),
    )

    assert calls_of(completion) == [
        (
            "book_room",
            {
                "room": "R-204",
                "date": "2027-03-14",
                "people": 12,
                "equipment": ["projector", "whiteboard"],
                "contact": {"email": "li@x.org"},
                "catering": False,
            },
        )
    ]


async def test_a_listed_value_is_chosen_by_its_explanation() -> None:
    report = tool(
        "report_problem",
        "Report a problem.",
        "title area",
        title=WORDS,
        area=one_of("a", "b", "c", description="a: heating, lights, windows; b: coffee, canteen; c: anything else"),
    )

    completion = await ask(user("Report a problem: the windows in my office do not close"), tools=(report,))

    assert completion.tool_calls[0].args["area"] == "a"


async def test_references_and_optional_branches_of_a_schema_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"where": {"$ref": "#/$defs/Where"}, "nights": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["where"],
        "$defs": {"Where": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    }
    hotels = ToolSpec(name="find_hotels", description="Find hotels in a city.", input_schema=schema)

    completion = await ask(user("Find hotels in Lisbon for 3 nights"), tools=(hotels,))

    assert calls_of(completion) == [("find_hotels", {"where": {"city": "Lisbon"}, "nights": 3})]


async def test_a_number_outside_the_bounds_is_not_taken() -> None:
    rate = tool("rate_film", "Rate a film.", "stars", stars={"type": "integer", "minimum": 1, "maximum": 5})

    completion = await ask(user("Rate the film with 9 stars"), tools=(rate,))

    assert completion.tool_calls == ()
    assert "stars" in completion.text


async def test_a_result_gives_the_argument_the_user_did_not_say() -> None:
    find = tool("find_customer", "Find a customer by name.", "name", name=WORDS)
    orders = tool("list_orders", "List the orders of a customer.", "customer_id", customer_id=WHOLE)
    question = user("Find the customer Maria Lopez and list her orders")

    first = await ask(question, tools=(find, orders))
    second = await ask(question, *called("find_customer", {"customer_id": 88, "name": "Maria Lopez"}), tools=(find, orders))

    assert calls_of(first) == [("find_customer", {"name": "Maria Lopez"})]
    assert calls_of(second) == [("list_orders", {"customer_id": 88})]


async def test_a_call_is_not_made_twice() -> None:
    completion = await ask(user("How much is in account 7?"), *called("get_balance", "12.5", account_id=7), tools=BANK)

    assert completion.tool_calls == ()
    assert "12.5" in completion.text


async def test_a_call_is_mended_once_when_its_error_names_the_argument() -> None:
    question = user("Show me the last 5 transactions of account 12")
    failed = "The arguments are not valid: limit: must be at least 10."
    once = called("list_transactions", failed, account_id=12, limit=5)

    mended = await ask(question, *once, tools=BANK)
    again = await ask(question, *once, *called("list_transactions", failed, id="t2c0", account_id=12), tools=BANK)

    assert calls_of(mended) == [("list_transactions", {"account_id": 12})]
    assert again.tool_calls == ()
    assert "limit" in again.text


async def test_nothing_found_leads_to_one_wider_search_and_no_third() -> None:
    question = user("Which allowance covers bicycles repaired privately in summer?")

    first = await ask(question, tools=PEOPLE)
    query = first.tool_calls[0].args["query"]
    second = await ask(question, *called("search_handbook", [], query=query), tools=PEOPLE)
    wider = second.tool_calls[0].args["query"]
    third = await ask(
        question,
        *called("search_handbook", [], query=query),
        *called("search_handbook", [], id="t2c0", query=wider),
        tools=PEOPLE,
    )

    assert set(wider.split()) < set(query.split())
    assert third.tool_calls == ()
    assert "found nothing" in third.text


async def test_nothing_found_for_everyday_words_leads_to_a_search_in_the_words_of_manuals() -> None:
    question = user("When do I tell my boss that my kid cannot come?")

    first = await ask(question, tools=PEOPLE)
    second = await ask(question, *called("search_handbook", [], query=first.tool_calls[0].args["query"]), tools=PEOPLE)

    assert {"manager", "child"} <= set(second.tool_calls[0].args["query"].split())


async def test_tool_choice_none_answers_without_a_call() -> None:
    completion = await ask(user("What is the weather in Paris?"), tools=WEATHER, tool_choice="none")

    assert completion.tool_calls == ()
    assert completion.finish_reason == "stop"


async def test_tool_choice_required_calls_the_nearest_tool() -> None:
    completion = await ask(user("Tell me a joke about penguins"), tools=(*WEATHER, *PEOPLE[:1]), tool_choice="required")

    assert calls_of(completion) == [("search_handbook", {"query": "joke penguins"})]


async def test_tool_choice_by_name_calls_that_tool() -> None:
    completion = await ask(user("What is the weather in Paris?"), tools=OFFICE, tool_choice="find_restaurants")

    assert calls_of(completion) == [("find_restaurants", {"city": "Paris"})]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(?=x)y", "["])
async def test_a_hostile_or_unreadable_pattern_does_no_harm(pattern: str) -> None:
    look = tool("get_part", "Show a part.", "part_id", part_id={"type": "string", "pattern": pattern})

    completion = await ask(user("Show part " + "a" * 60 + "1!"), tools=(look,))

    assert completion.model == "simulated"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]},
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/X"}},
            "required": ["x"],
            "$defs": {"X": {"$ref": "#/$defs/X"}},
        },
        {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/N"}},
            "required": ["x"],
            "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "required": ["n"]}},
        },
        {"type": "object", "properties": {"x": {"enum": []}, "y": {"type": ["string", "null"]}}, "required": ["x"]},
    ],
)
async def test_an_odd_schema_never_breaks_the_model(schema: dict[str, Any]) -> None:
    odd = ToolSpec(name="odd_tool", description="", input_schema=schema)

    for choice in ("auto", "required", "odd_tool"):
        completion = await ask(user("Please run the odd tool"), tools=(odd,), tool_choice=choice)
        assert completion.model == "simulated"


async def test_a_changed_declaration_of_a_tool_is_read_again() -> None:
    model = SimulatedModel()
    old = tool("get_rate", "Show the rate of a room.", "room", room=WHOLE)
    new = tool("get_rate", "Show the rate of a room.", "nights", nights=NUMBER)
    said = (user("Show the rate of room 12 for 3 nights"),)

    first = await model.complete(ModelRequest(messages=said, tools=(old,)), context())
    second = await model.complete(ModelRequest(messages=said, tools=(new,)), context())

    assert first.tool_calls == (ToolCall(id="call_0", name="get_rate", args={"room": 12}),)
    assert second.tool_calls == (ToolCall(id="call_0", name="get_rate", args={"nights": 3}),)


async def test_the_right_act_on_another_thing_is_no_reason_to_call() -> None:
    completion = await ask(user("Please buy a pizza"), tools=SERVERS[1:])

    assert completion.tool_calls == ()


async def test_a_question_that_leans_on_what_the_message_told_searches_for_that() -> None:
    search = tool("search_handbook", "Search the handbook.", "query", query={"type": "string"})

    completion = await ask(user("The printer says badge unknown, what now?"), tools=[search])

    [(name, args)] = calls_of(completion)
    assert name == "search_handbook"
    assert {"printer", "badge", "unknown"} <= set(args["query"].split())


@pytest.mark.parametrize(
    ("says", "query"),
    [
        ("What to look for: the whole question as it was asked.", "How many days of parental leave do I get?"),
        ("要查找的内容：完整的问题。", "How many days of parental leave do I get?"),
        ("What to look for, in the words of the question.", "days parental leave"),
    ],
)
async def test_a_search_is_asked_as_its_parameter_wants_to_be(says: str, query: str) -> None:
    search = tool("search_handbook", "Search the handbook.", "query", query={"type": "string", "description": says})

    answer = await ask(user("Hello! How many days of parental leave do I get?"), tools=[search])

    assert calls_of(answer) == [("search_handbook", {"query": query})]


@pytest.mark.parametrize(
    ("says", "cited"),
    [
        ("What to look for: the whole question as it was asked.", "[near]"),
        ("What to look for, in the words of the question.", "[shared]"),
    ],
)
async def test_what_a_search_by_meaning_says_of_a_passage_outweighs_shared_words(says: str, cited: str) -> None:
    search = tool("search_handbook", "Search the handbook.", "query", query={"type": "string", "description": says})
    passages = [
        {"id": "near", "title": "Leave", "content": "Mothers and fathers stay at home for sixteen weeks.", "score": 1.0},
        {"id": "shared", "title": "Room", "content": "The parental room is open on all days of the week.", "score": 0.45},
    ]
    question = "How long may I stay away as a parent, in days, parental?"

    answer = await ask(user(question), *called("search_handbook", passages, query=question), tools=[search])

    assert cited in answer.text


@pytest.mark.parametrize("digits", ["1" * 5_000, "1" * 5_000 + ".5", "1," + ",".join(["111"] * 2_000)])
async def test_a_number_without_end_is_no_number(digits: str) -> None:
    answer = await ask(user(f"Convert {digits} EUR to USD."), tools=OFFICE)

    assert all("amount" not in args for _, args in calls_of(answer))
