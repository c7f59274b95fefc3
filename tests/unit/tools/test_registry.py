"""The registry finds tools by name and shows them."""

from __future__ import annotations

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.tools import Effect
from quarterdeck.tools import Registry, render_prompt, tool


@tool(effect="read", scope="tickets.read")
def get_ticket(id: str) -> str:
    """Look up a ticket."""
    return id


@tool(risk=3)
def pay(amount: int) -> None:
    """Pay."""


def bare(x: int) -> int:
    return x


@pytest.mark.row("R5", part="registry")
def test_tools_are_found_by_name_in_order() -> None:
    registry = Registry([pay, get_ticket, bare])

    assert registry.names() == ("pay", "get_ticket", "bare")
    assert registry.get("pay") is pay
    assert registry.get("bare") is not None
    assert registry.get("nowhere") is None


@pytest.mark.row("R5", part="registry")
def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(Misconfigured, match="pay"):
        Registry([pay, get_ticket, pay])


@pytest.mark.row("R5", part="registry")
def test_the_catalogue_shows_what_a_person_must_know() -> None:
    first, second, third = Registry([get_ticket, pay, bare]).catalogue()

    assert (first.name, first.description, first.risk_level, first.access) == (
        "get_ticket",
        "Look up a ticket.",
        "low",
        "read",
    )
    assert first.input_schema["required"] == ["id"]
    assert (first.permission, first.effect) == ("tickets.read", Effect.READ)
    assert (second.risk_level, second.access) == ("high", "write")
    assert (third.risk_level, third.effect) == ("medium", Effect.WRITE)


def test_a_part_of_a_registry_can_be_taken_by_name() -> None:
    registry = Registry([get_ticket, pay])

    assert registry.only(["pay"]).names() == ("pay",)
    with pytest.raises(Misconfigured, match="get_ticket"):
        registry.only(["get_tickets"])


@pytest.mark.row("R5", part="prompt")
def test_tools_can_be_shown_to_a_model_without_tool_calling() -> None:
    text = render_prompt([get_ticket, pay])

    assert "## get_ticket\nLook up a ticket.\n" in text
    assert '"amount": {"type": "integer"}' in text
    assert render_prompt([]) == ""


@pytest.mark.parametrize(("undo", "said"), [("close", "no tool here"), ("look", "a read")])
def test_what_takes_back_a_write_is_a_write_that_is_there(undo: str, said: str) -> None:
    @tool(effect="write", undo=undo)
    def open_it() -> None: ...

    @tool(effect="read")
    def look() -> None: ...

    with pytest.raises(Misconfigured, match=said):
        Registry([open_it, look]).check_undo()


def test_only_a_write_has_an_undo_and_it_is_another_tool() -> None:
    with pytest.raises(Misconfigured, match="undo names another tool"):

        @tool(effect="read", undo="close")
        def look() -> None: ...
