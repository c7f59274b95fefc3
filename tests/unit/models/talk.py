"""Short ways to write a conversation with the simulated model, and invented tools of many trades."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.models.base import Completion, ModelRequest, ToolSpec
from quarterdeck.models.simulated import SimulatedModel

TRUSTED = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)


def context() -> Context:
    return Context(principal=Principal(user="anna", tenant="acme"), run_id="r1", deadline=time.monotonic() + 60)


def system(text: str) -> Message:
    return _message(Role.SYSTEM, text)


def user(text: str) -> Message:
    return _message(Role.USER, text)


def assistant(text: str) -> Message:
    return _message(Role.ASSISTANT, text)


def called(name: str, result: Any, *, id: str = "t1c0", **args: Any) -> tuple[Message, Message]:
    """A call and what came back: a text as it is, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    call = ToolCall(id=id, name=name, args=args)
    return (
        Message(role=Role.ASSISTANT, tool_calls=(call,)),
        Message(role=Role.TOOL, parts=(Text(text=text, label=TRUSTED),), call_id=id),
    )


def _message(role: Role, text: str) -> Message:
    return Message(role=role, parts=(Text(text=text, label=TRUSTED),))


async def ask(*messages: Message, tools: Sequence[ToolSpec] = (), **request: Any) -> Completion:
    """What a fresh simulated model answers."""
    return await SimulatedModel().complete(ModelRequest(messages=messages, tools=tuple(tools), **request), context())


def calls_of(completion: Completion) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.args) for call in completion.tool_calls]


def tool(name: str, description: str, required: str = "", /, **properties: Mapping[str, Any]) -> ToolSpec:
    """A tool; `required` names required properties, separated by spaces."""
    schema = {"type": "object", "properties": properties, "required": required.split()}
    return ToolSpec(name=name, description=description, input_schema=schema)


WORDS = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
DAY = {"type": "string", "format": "date"}
EMAIL = {"type": "string", "format": "email"}


def one_of(*values: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), **more}


def like(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


BANK = (
    tool("get_balance", "Return the balance of an account.", "account_id", account_id=WHOLE),
    tool(
        "transfer_money",
        "Transfer money from one account to another.",
        "from_account to_account amount",
        from_account=WHOLE,
        to_account=WHOLE,
        amount=NUMBER,
        note=WORDS,
    ),
    tool("list_transactions", "List the latest transactions of an account.", "account_id", account_id=WHOLE, limit=WHOLE),
)
WEATHER = (
    tool(
        "get_forecast",
        "Weather forecast for a city.",
        "city",
        city=WORDS,
        days={"type": "integer", "description": "number of days"},
        unit=one_of("celsius", "fahrenheit", default="celsius"),
    ),
)
CALENDAR = (
    tool(
        "create_event",
        "Create a calendar event.",
        "title date",
        title=WORDS,
        date=DAY,
        start_time={"type": "string", "format": "time"},
        attendees={"type": "array", "items": EMAIL},
    ),
    tool("list_events", "List the events in my calendar on a day.", "date", date=DAY),
    tool(
        "cancel_event",
        "Cancel a calendar event.",
        "event_id",
        event_id={"type": "string", "description": "Id such as EV-204"},
    ),
)
PEOPLE = (
    tool("search_handbook", "Search the employee handbook.", "query", query=WORDS),
    tool(
        "request_leave",
        "Submit a leave request for the employee.",
        "start_date end_date kind",
        start_date=DAY,
        end_date=DAY,
        kind=one_of("annual", "sick", "unpaid"),
        comment=WORDS,
    ),
    tool(
        "get_leave_balance", "How many days of leave an employee has left.", "employee_id", employee_id=like("^E[0-9]{4}$")
    ),
)
PARCELS = (
    tool(
        "track_parcel",
        "Track a parcel by its tracking number.",
        "tracking_number",
        tracking_number={"type": "string", "description": "e.g. PX998877"},
    ),
    tool(
        "create_shipment",
        "Create a shipment.",
        "recipient destination weight_kg",
        recipient=WORDS,
        destination=WORDS,
        weight_kg=NUMBER,
        express={"type": "boolean"},
    ),
    tool(
        "cancel_shipment",
        "Cancel a shipment that has not left yet.",
        "tracking_number",
        tracking_number={"type": "string", "description": "e.g. PX998877"},
    ),
)
MAIL = (
    tool("send_email", "Send an email.", "to subject body", to=EMAIL, subject=WORDS, body=WORDS),
    tool("search_mail", "Search my mailbox.", "query", query=WORDS),
)
SERVERS = (
    tool("search_docs", "Search the documentation.", "query", query=WORDS),
    tool("reboot_server", "Reboots a server.", "server_id", server_id=like("^web-[0-9]+$")),
    tool(
        "create_incident",
        "Open an incident.",
        "title severity",
        title=WORDS,
        description=WORDS,
        severity=one_of("low", "normal", "high", description="How bad it is"),
    ),
    tool("get_incident", "Show the status of an incident.", "incident_id", incident_id=like("^INC[0-9]{4}$")),
)
CHINESE = (
    tool("search_kb", "在知识库中搜索文章。", "query", query=WORDS),
    tool(
        "create_ticket",
        "创建一个工单。",
        "title description priority",
        title=WORDS,
        description=WORDS,
        priority=one_of("low", "medium", "high"),
    ),
    tool(
        "query_order", "查询订单的状态。", "order_id", order_id={"type": "string", "description": "订单编号，例如 ORD-2001"}
    ),
    tool("book_room", "预订会议室。", "date people", date=DAY, people={"type": "integer", "description": "人数"}),
)
OFFICE = (
    tool(
        "convert_currency",
        "Convert an amount between currencies.",
        "amount from_currency to_currency",
        amount=NUMBER,
        from_currency=WORDS,
        to_currency=WORDS,
    ),
    tool(
        "translate_text",
        "Translate a text into another language.",
        "text target_language",
        text=WORDS,
        target_language=WORDS,
    ),
    tool("fetch_page", "Fetch a web page.", "url", url={"type": "string", "format": "uri"}),
    tool("set_reminder", "Set a reminder.", "text time", text=WORDS, time=WORDS),
    tool(
        "book_flight",
        "Book a flight.",
        "from_city to_city departure_date passengers",
        from_city=WORDS,
        to_city=WORDS,
        departure_date=DAY,
        passengers=WHOLE,
        cabin=one_of("economy", "business", "first", default="economy"),
    ),
    tool("find_restaurants", "Find restaurants in a city.", "city", city=WORDS, cuisine=WORDS),
)
