"""The ticket system of the support desk: one SQLite file, safe to use from several threads and processes.

It stands for whatever a company already has. What matters to an agent's runtime is that creating is idempotent: the same
key gives the same ticket, however often a crash makes somebody ask again.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

__all__ = ["Category", "NewTicket", "Person", "Priority", "Status", "Ticket", "TicketSystem"]

Category = Literal["hardware", "software", "access", "network", "hr", "finance", "other"]
Priority = Literal["low", "medium", "high"]
Status = Literal["open", "in progress", "waiting for requester", "resolved", "closed"]

_ID = re.compile(r"T-([1-9][0-9]{3,14})\Z")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tickets(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  requester TEXT NOT NULL,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  category TEXT NOT NULL CHECK(category IN ('hardware', 'software', 'access', 'network', 'hr', 'finance', 'other')),
  priority TEXT NOT NULL CHECK(priority IN ('low', 'medium', 'high')),
  status TEXT NOT NULL,
  created_at TEXT NOT NULL,
  idem_key TEXT NOT NULL,
  UNIQUE(tenant, idem_key)
)
"""
_INSERT = """
INSERT INTO tickets(number, tenant, requester, title, description, category, priority, status, created_at, idem_key)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_BY_KEY = """
SELECT number, tenant, requester, title, description, category, priority, status, created_at
FROM tickets WHERE tenant = ? AND idem_key = ?
"""
_BY_NUMBER = """
SELECT number, tenant, requester, title, description, category, priority, status, created_at
FROM tickets WHERE number = ? AND tenant = ? AND (? OR requester = ?)
"""
_VISIBLE = """
SELECT number, tenant, requester, title, description, category, priority, status, created_at
FROM tickets WHERE tenant = ? AND (? OR requester = ?) ORDER BY number
"""
_SEEDS: tuple[tuple[int, str, str, str, str, Category, Priority, Status, str], ...] = (
    (
        1001,
        "acme",
        "emma",
        "Second monitor stays dark",
        "The left monitor at desk 3.27 shows nothing since the dock's firmware was updated.",
        "hardware",
        "medium",
        "in progress",
        "2026-03-09T08:12:00+00:00",
    ),
    (
        1002,
        "acme",
        "marc",
        "Shared mailbox for the spring fair",
        "Please create a shared mailbox; owners are Emma Lindqvist and me.",
        "access",
        "low",
        "resolved",
        "2026-03-09T13:40:00+00:00",
    ),
    (
        1003,
        "acme",
        "hanna",
        "Contract template cannot be opened",
        "Word says that the template of the employment contract is damaged.",
        "software",
        "high",
        "open",
        "2026-03-10T07:55:00+00:00",
    ),
    (
        1004,
        "acme",
        "ines",
        "Certificate of the jump host expires",
        "The certificate has to be renewed before the end of the month.",
        "network",
        "medium",
        "open",
        "2026-03-10T09:30:00+00:00",
    ),
    (
        1005,
        "acme",
        "emma",
        "Question on my per diem for Paris",
        "The amount for 24 February seems to be too low.",
        "finance",
        "low",
        "waiting for requester",
        "2026-03-11T15:05:00+00:00",
    ),
    (
        1006,
        "globex",
        "gil",
        "New headset",
        "My headset has no sound on the right side.",
        "hardware",
        "low",
        "open",
        "2026-03-12T10:20:00+00:00",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whoever asks the ticket system for something.

    Attributes:
        staff: Works at the desk, and therefore sees every ticket of the own tenant.
    """

    id: str
    tenant: str
    staff: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTicket:
    """What somebody wants a ticket for."""

    title: str
    description: str
    category: Category
    priority: Priority = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A ticket as it stands. Its id is ``T-`` and a number that rises."""

    id: str
    tenant: str
    requester: str
    title: str
    description: str
    category: str
    priority: str
    status: str
    created_at: datetime


def _now() -> datetime:
    return datetime.now(UTC)


class TicketSystem:
    """Tickets in one SQLite file, which is made and given a few tickets at first use.

    A person sees own tickets only, staff those of the own tenant; anything else looks as if it did not exist.
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._path = path
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as db:
            db.execute(_SCHEMA)
            db.executemany(_INSERT, [(*seed, f"seed-{seed[0]}") for seed in _SEEDS])

    def create(self, ticket: NewTicket, requester: Person, key: str) -> Ticket:
        """Open a ticket, or return the one that was opened with this key before."""
        row = (
            None,
            requester.tenant,
            requester.id,
            ticket.title,
            ticket.description,
            ticket.category,
            ticket.priority,
            "open",
            self._clock().astimezone(UTC).isoformat(timespec="seconds"),
            key,
        )
        with self._transaction() as db:
            db.execute(_INSERT, row)
            found = db.execute(_BY_KEY, (requester.tenant, key)).fetchone()
        return _ticket(found)

    def get(self, ticket_id: str, reader: Person) -> Ticket | None:
        """The ticket, None if there is none of that id that `reader` may see."""
        match = _ID.match(ticket_id)
        if match is None:
            return None
        with closing(self._connect()) as db:
            found = db.execute(_BY_NUMBER, (int(match[1]), reader.tenant, reader.staff, reader.id)).fetchone()
        return None if found is None else _ticket(found)

    def list_for(self, reader: Person) -> list[Ticket]:
        """Every ticket that `reader` may see, oldest first."""
        with closing(self._connect()) as db:
            found = db.execute(_VISIBLE, (reader.tenant, reader.staff, reader.id)).fetchall()
        return [_ticket(row) for row in found]

    def _connect(self) -> sqlite3.Connection:
        # One connection per call: tools run in any thread, and a ticket system is not asked a thousand times a second.
        return sqlite3.connect(self._path, timeout=10.0, isolation_level=None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock at once, so that two processes never both think they are first."""
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _ticket(row: tuple[int, str, str, str, str, str, str, str, str]) -> Ticket:
    number, tenant, requester, title, description, category, priority, status, created_at = row
    return Ticket(
        id=f"T-{number}",
        tenant=tenant,
        requester=requester,
        title=title,
        description=description,
        category=category,
        priority=priority,
        status=status,
        created_at=datetime.fromisoformat(created_at),
    )
