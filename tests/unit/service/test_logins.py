"""Who comes in stands in the audit log, once an hour."""

from __future__ import annotations

import hashlib

import pytest

from quarterdeck.service.access import Access, Caller, User
from quarterdeck.service.logins import Logins
from quarterdeck.store.memory import MemoryStore

pytestmark = pytest.mark.row("S9", part="logins")

OMAR = User(id="omar", tenant="acme", key="sha256:" + hashlib.sha256(b"given").hexdigest())


def caller(key: str) -> Caller:
    return Caller(key=key, forwarded=True, known_origin=False, loopback=False)


async def test_first_use_of_a_key_in_an_hour_is_a_row_of_the_audit_log() -> None:
    records, at = MemoryStore().records, [0.0]
    access = Access([OMAR], {}, keyless=False, logins=Logins(records, clock=lambda: at[0]))

    for now in (0.0, 10.0, 3599.0, 3600.0):
        at[0] = now
        await access.admit(caller("given"))

    rows = [(row["actor"], row["action"], row["object"], row["decision"]) for row in await records.audit_rows("acme")]
    assert rows == [("user:omar", "login", "key", "allowed")] * 2
