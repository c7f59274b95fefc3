from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured, Unauthenticated
from quarterdeck.service.access import Access, Caller, Keys, User

EMMA = User(id="emma", tenant="acme", scopes=("chat",), key="generated", default=True)
OMAR = User(id="omar", tenant="acme", key="sha256:" + hashlib.sha256(b"given").hexdigest())
NOBODY = User(id="nobody", tenant="acme")
DIRECT = Caller(key=None, forwarded=False, known_origin=True, loopback=True)


async def test_generated_key_is_made_once_kept_private_and_proves_its_user(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "data")

    first = keys.ensure(["emma"])
    again = Keys(tmp_path / "data").ensure(["emma", "omar"])

    assert set(first) == {"emma"}
    assert set(again) == {"omar"}
    assert len(first["emma"]) == len("qd_") + 64
    assert keys.readable.read_text().splitlines() == [f"emma {first['emma']}", f"omar {again['omar']}"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()] == [0o600, 0o600]
    access = Access([EMMA], keys.hashes(), keyless=False)
    admitted = await access.admit(Caller(key=first["emma"], forwarded=True, known_origin=False, loopback=False))
    assert admitted == replace(EMMA.principal, credential="file:generated")


def test_what_is_checked_holds_no_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    new = keys.ensure(["emma"])

    hashes = (tmp_path / "key-hashes.json").read_text()
    keys.readable.unlink()

    assert new["emma"] not in hashes
    assert Keys(tmp_path).ensure(["emma"]) == {}


def test_damaged_hashes_are_told_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "key-hashes.json").write_text("{")

    with pytest.raises(Misconfigured, match=r"key-hashes\.json is damaged"):
        Keys(tmp_path).ensure(["emma"])


async def test_key_made_elsewhere_is_known_by_its_hash() -> None:
    access = Access([EMMA, OMAR, NOBODY], {}, keyless=False)

    admitted = await access.admit(Caller(key="given", forwarded=False, known_origin=True, loopback=False))
    assert replace(admitted, credential=None) == OMAR.principal


@pytest.mark.parametrize("key", ["", "wrong", "' OR '1'='1", "qd_" + "0" * 64, "\udcff", "None"])
async def test_unknown_key_is_refused_even_where_none_is_needed(key: str) -> None:
    access = Access([EMMA, OMAR, NOBODY], {}, keyless=True)

    with pytest.raises(Unauthenticated):
        await access.admit(Caller(key=key, forwarded=False, known_origin=True, loopback=True))


async def test_caller_without_a_key_is_the_default_user_when_every_condition_holds() -> None:
    access = Access([OMAR, EMMA], {}, keyless=True)

    assert await access.admit(DIRECT) == EMMA.principal
    assert access.keyless == "emma"


@pytest.mark.parametrize(
    "caller",
    [
        Caller(key=None, forwarded=True, known_origin=True, loopback=True),
        Caller(key=None, forwarded=False, known_origin=False, loopback=True),
        Caller(key=None, forwarded=False, known_origin=True, loopback=False),
    ],
    ids=["forwarded", "unknown name", "other machine"],
)
async def test_one_missing_condition_keeps_a_caller_without_a_key_out(caller: Caller) -> None:
    access = Access([EMMA], {}, keyless=True)

    with pytest.raises(Unauthenticated):
        await access.admit(caller)


@pytest.mark.parametrize(("users", "keyless"), [([EMMA], False), ([OMAR], True)], ids=["not allowed", "no default user"])
async def test_without_keyless_entry_everybody_needs_a_key(users: list[User], keyless: bool) -> None:
    access = Access(users, {}, keyless=keyless)

    with pytest.raises(Unauthenticated):
        await access.admit(DIRECT)


async def test_directory_knows_present_rights_and_forgets_who_left() -> None:
    before = User(id="emma", tenant="acme", groups=("hr",)).principal
    moved = User(id="emma", tenant="globex", groups=("hr",)).principal

    access = Access([EMMA], {}, keyless=False)

    assert await access.current(before) == EMMA.principal
    assert await access.current(OMAR.principal) is None
    assert await access.current(moved) is None


@pytest.mark.parametrize("key", [None, "generated", "sha256:" + hashlib.sha256(b"another").hexdigest()])
async def test_who_came_with_a_key_that_was_taken_out_or_changed_is_nobody(key: str | None) -> None:
    access = Access([OMAR], {}, keyless=False)
    came = await access.admit(Caller(key="given", forwarded=False, known_origin=True, loopback=False))
    before = await access.current(came)

    access.adopt([replace(OMAR, key=key)], {})

    assert before == came
    assert await access.current(came) is None
    assert await access.current(replace(came, credential=None)) == OMAR.principal


async def test_a_scope_that_was_taken_away_is_told_of_whoever_had_it() -> None:
    access = Access([replace(EMMA, scopes=("chat", "approvals"))], {}, keyless=False)
    had = Principal(user="emma", tenant="acme", scopes=("approvals",))
    before = await access.current(had)

    access.adopt([EMMA], {})
    after = await access.current(had)

    assert before is not None
    assert after is not None
    assert (before.scopes, after.scopes) == (("approvals",), ())
