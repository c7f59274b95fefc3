"""Who comes in stands in the audit log, once an hour; who is refused, in the log of the process."""

from __future__ import annotations

import hashlib
import logging

import pytest

from quarterdeck.core.errors import Unauthenticated
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


async def test_refusals_are_told_once_a_second_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    at = [0.0]
    access = Access([OMAR], {}, keyless=False, logins=Logins(MemoryStore().records, clock=lambda: at[0]))

    with caplog.at_level(logging.WARNING):
        for number in range(101):
            at[0] = 0.5 if number < 100 else 2.0
            with pytest.raises(Unauthenticated):
                await access.admit(caller("wrong"))

    told = [record.__dict__["refused"] for record in caplog.records]
    assert told == [1, 100]
