"""A users file that changes under a running server."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import yaml

from quarterdeck.app.people import WatchingPeople
from quarterdeck.core.errors import Conflict
from quarterdeck.service.access import Access, Caller, User
from quarterdeck.settings import load_people

pytestmark = pytest.mark.row("S9", part="users file")


class Desk:
    """A server that knows people, and an audit log that can be away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(ann=["everyone", "hr"])
        self.users = tuple(load_people(folder))
        self.access = Access(self.users, {}, keyless=False)
        self.told: list[list[str]] = []
        self.away = False
        self.slept: list[float] = []
        self.counted: list[str] = []
        self.watching = WatchingPeople(
            folder / "users.yaml",
            self.users,
            load=lambda: load_people(folder),
            hashes=self.hashes,
            tell=self.tell,
            adopt=self.access.adopt,
            count=self.counted.append,
            every_s=2.0,
            sleep=self.sleep,
        )

    def write(self, **groups: list[str]) -> None:
        users = [{"id": name, "tenant": "acme", "groups": held, "key": "generated"} for name, held in groups.items()]
        (self.folder / "users.yaml").write_text(yaml.safe_dump({"users": users}))

    async def look(self) -> None:
        """Look twice: what changes between two looks is still being written."""
        await self.watching.look()
        await self.watching.look()

    async def hashes(self, users: Sequence[User]) -> Mapping[str, str]:
        return {user.id: "sha256:" + hashlib.sha256(user.id.encode()).hexdigest() for user in users}

    async def tell(self, users: Sequence[User]) -> None:
        if self.away:
            raise Conflict("the store is away")
        self.told.append([user.id for user in users])

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) > 3:
            await anyio.sleep_forever()

    async def groups(self, user: str) -> tuple[str, ...] | None:
        before = next(known.principal for known in self.users if known.id == "ann")
        now = await self.access.current(before if user == "ann" else User(id=user, tenant="acme").principal)
        return None if now is None else now.groups


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_group_that_is_taken_away_is_told_and_then_gone(desk: Desk) -> None:
    await desk.look()
    before = await desk.groups("ann")

    desk.write(ann=["everyone"], bob=["hr"])
    await desk.look()
    await desk.look()

    assert before == ("everyone", "hr")
    assert (await desk.groups("ann"), await desk.groups("bob")) == (("everyone",), ("hr",))
    assert desk.told == [["ann", "bob"]]


async def test_who_is_taken_out_is_nobody(desk: Desk) -> None:
    desk.write(bob=["hr"])
    await desk.look()

    assert await desk.groups("ann") is None


@pytest.mark.parametrize("wrong", ["users: [", "users: [{tenant: acme}]", "users: [{id: a, tenant: t}, {id: a, tenant: t}]"])
async def test_a_wrong_file_changes_nothing_and_is_said_once(
    desk: Desk, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    (desk.folder / "users.yaml").write_text(wrong)
    with caplog.at_level(logging.ERROR):
        await desk.look()
        await desk.look()

    assert await desk.groups("ann") == ("everyone", "hr")
    assert (len(caplog.records), desk.told) == (1, [])
    assert desk.counted == ["refused"]


async def test_a_file_that_is_gone_lets_everybody_stay(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.look()
    (desk.folder / "users.yaml").unlink()
    with caplog.at_level(logging.ERROR):
        await desk.look()

    assert await desk.groups("ann") == ("everyone", "hr")
    assert "is gone" in caplog.text


async def test_what_the_audit_log_cannot_be_told_waits_for_it(desk: Desk) -> None:
    desk.write(ann=["everyone"])
    desk.away = True
    await desk.look()
    meanwhile = await desk.groups("ann")

    desk.away = False
    await desk.look()

    assert (meanwhile, await desk.groups("ann")) == (("everyone", "hr"), ("everyone",))
    assert desk.counted == ["waits", "in_force"]


async def test_a_new_person_comes_in_with_the_key_that_was_made(desk: Desk) -> None:
    desk.write(ann=["everyone"], bob=["hr"])
    await desk.look()

    known = await desk.access.current(User(id="bob", tenant="acme").principal)

    admitted = await desk.access.admit(Caller(key="bob", forwarded=False, known_origin=True, loopback=False))
    assert known == replace(admitted, credential=None)


async def test_the_file_is_looked_at_again_and_again(desk: Desk) -> None:
    with anyio.move_on_after(0.2):
        await desk.watching.serve()

    assert set(desk.slept) == {2.0}
