"""The example's ticket system: one ticket per key, and everybody sees what is theirs."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "examples" / "support_desk"


@pytest.fixture(scope="module")
def tickets() -> Iterator[ModuleType]:
    """The module, loaded from its file: the example is no part of the package."""
    spec = importlib.util.spec_from_file_location("support_desk_tickets", FOLDER / "tickets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def fixed() -> datetime:
    return datetime(2026, 3, 16, 9, 0, tzinfo=UTC)


def test_first_use_gives_the_same_tickets_every_time(tickets: ModuleType, tmp_path: Path) -> None:
    desk = tickets.Person(id="omar", tenant="acme", staff=True)

    one = tickets.TicketSystem(tmp_path / "one.sqlite3").list_for(desk)
    two = tickets.TicketSystem(tmp_path / "two.sqlite3").list_for(desk)

    assert one == two
    assert one[0].id == "T-1001"


def test_opening_the_file_again_keeps_what_was_created(tickets: ModuleType, tmp_path: Path) -> None:
    emma = tickets.Person(id="emma", tenant="acme")
    wish = tickets.NewTicket(title="No power", description="It does not charge.", category="hardware")
    created = tickets.TicketSystem(tmp_path / "t.sqlite3", clock=fixed).create(wish, emma, "run:t1c0")

    again = tickets.TicketSystem(tmp_path / "t.sqlite3", clock=fixed)

    assert again.get(created.id, emma) == created
    assert created.id == "T-1007"
    assert created.status == "open"
    assert created.created_at == fixed()


def test_same_key_gives_the_same_ticket(tickets: ModuleType, tmp_path: Path) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3", clock=fixed)
    emma = tickets.Person(id="emma", tenant="acme")
    wish = tickets.NewTicket(title="No power", description="It does not charge.", category="hardware")

    first = system.create(wish, emma, "run:t1c0")
    repeated = system.create(wish, emma, "run:t1c0")
    other = system.create(wish, emma, "run:t1c1")

    assert repeated == first
    assert other.id != first.id


def test_many_at_once_with_one_key_make_one_ticket(tickets: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite3"
    emma = tickets.Person(id="emma", tenant="acme")
    wish = tickets.NewTicket(title="No power", description="It does not charge.", category="hardware")

    def create(_: int) -> str:
        return str(tickets.TicketSystem(path).create(wish, emma, "run:t1c0").id)

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(create, range(16)))

    assert ids == {"T-1007"}
    assert len(tickets.TicketSystem(path).list_for(emma)) == 3


def test_person_sees_own_tickets_only(tickets: ModuleType, tmp_path: Path) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3")
    emma = tickets.Person(id="emma", tenant="acme")

    visible = system.list_for(emma)

    assert [ticket.requester for ticket in visible] == ["emma", "emma"]
    assert system.get("T-1001", emma) is not None
    assert system.get("T-1003", emma) is None


def test_staff_see_every_ticket_of_their_tenant_and_none_of_another(tickets: ModuleType, tmp_path: Path) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3")
    omar = tickets.Person(id="omar", tenant="acme", staff=True)
    stranger = tickets.Person(id="emma", tenant="globex")

    visible = system.list_for(omar)

    assert {ticket.requester for ticket in visible} == {"emma", "marc", "hanna", "ines"}
    assert system.get("T-1006", omar) is None
    assert system.list_for(stranger) == []


def test_key_of_one_tenant_does_not_find_a_ticket_of_another(tickets: ModuleType, tmp_path: Path) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3")
    wish = tickets.NewTicket(title="No sound", description="The headset is silent.", category="hardware")

    ours = system.create(wish, tickets.Person(id="emma", tenant="acme"), "same")
    theirs = system.create(wish, tickets.Person(id="gil", tenant="globex"), "same")

    assert ours.id != theirs.id


@pytest.mark.parametrize("text", ["", "1001", "t-1001", "T-1", "T-01001", "T-1001 ", "T-" + "9" * 40, "T-1001' OR 1=1 --"])
def test_text_that_is_no_ticket_number_finds_nothing(tickets: ModuleType, tmp_path: Path, text: str) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3")

    found = system.get(text, tickets.Person(id="omar", tenant="acme", staff=True))

    assert found is None


def test_category_that_does_not_exist_is_refused(tickets: ModuleType, tmp_path: Path) -> None:
    system = tickets.TicketSystem(tmp_path / "t.sqlite3")
    emma = tickets.Person(id="emma", tenant="acme")

    with pytest.raises(sqlite3.IntegrityError):
        system.create(tickets.NewTicket(title="Tea", description="No tea.", category="kitchen"), emma, "run:t1c0")

    assert len(system.list_for(emma)) == 2
