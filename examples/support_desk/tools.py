"""What the support agent may do besides searching.

The server calls `build_tools` once at start, with the data folder, and registers what it returns. This folder is on the
import path meanwhile, so that modules beside this one can be imported by name. The search comes with the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tickets import Category, NewTicket, Person, Priority, Ticket, TicketSystem

from quarterdeck import tool
from quarterdeck.core.context import Principal
from quarterdeck.core.tools import Tool, ToolContext


def build_tools(data: Path) -> Sequence[Tool]:
    """The tools, over a ticket system in the data folder."""
    tickets = TicketSystem(data / "tickets.sqlite3")

    @tool(effect="read", risk=0, identity=("ticket_id",), scope="tickets.read")
    def get_ticket_status(
        ticket_id: Annotated[str, Field(pattern=r"^T-[0-9]{4,}$", max_length=17)], ctx: ToolContext
    ) -> dict[str, str]:
        """Look up the status of a support ticket by its number.

        Args:
            ticket_id: Number of the ticket, such as T-1001.
        """
        ticket = tickets.get(ticket_id, _person(ctx.principal))
        if ticket is None:
            return {"ticket_id": ticket_id, "status": "not found", "message": f"You have no ticket {ticket_id}."}
        return _shown(ticket)

    @tool(
        effect="write",
        risk=2,
        idempotent=True,
        needs_approval=True,
        content=("title", "description"),
        scope="tickets.write",
    )
    def create_ticket_draft(
        title: Annotated[str, Field(min_length=3, max_length=120)],
        description: Annotated[str, Field(min_length=3, max_length=4000)],
        category: Category,
        priority: Priority,
        ctx: ToolContext,
    ) -> dict[str, str]:
        """Open a support ticket for the user. It is proposed as a draft first and created when a person has approved it.

        Args:
            title: The trouble in one line.
            description: The trouble in the user's words, with what was tried already.
            category: What it is about. hardware (laptop, battery, charger, monitor, dock, phone, printer), software
                (program, licence, installation), access (account, password, permission, mailbox), network (VPN, Wi-Fi,
                internet), hr (leave, contract), finance (expenses, invoice, card), other (anything else).
            priority: How urgent it is. high (cannot work at all), medium (can work with difficulty, the usual),
                low (a question or a wish).
        """
        ticket = tickets.create(
            NewTicket(title=title, description=description, category=category, priority=priority),
            _person(ctx.principal),
            ctx.idempotency_key,
        )
        return _shown(ticket)

    return [get_ticket_status, create_ticket_draft]


def _person(principal: Principal) -> Person:
    """The caller as the ticket system knows people: approvers and administrators are its staff."""
    staff = "approver" in principal.roles or "it-admins" in principal.groups
    return Person(id=principal.user, tenant=principal.tenant, staff=staff)


def _shown(ticket: Ticket) -> dict[str, str]:
    return {
        "ticket_id": ticket.id,
        "status": ticket.status,
        "title": ticket.title,
        "category": ticket.category,
        "priority": ticket.priority,
        "created_at": ticket.created_at.isoformat(timespec="minutes"),
    }
