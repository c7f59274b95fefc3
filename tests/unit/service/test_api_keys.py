"""Keys people make for themselves: never more than their holder, for as long as they are wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from quarterdeck.service.access import Access, Caller, User
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.stays import Stay, Stays
from quarterdeck.service.stream_tokens import StreamTokens
from quarterdeck.store.memory import MemoryStore

pytestmark = pytest.mark.row("S9", part="keys of one's own")

INES = User(id="ines", tenant="acme", scopes=("chat", "operate", "keys.write"), roles=("admin",))
GIL = User(id="gil", tenant="globex", scopes=("chat", "keys.write"))


class Scene:
    """Two servers over one database, and a clock."""

    def __init__(self, *users: User) -> None:
        self.at = datetime(2026, 5, 1, tzinfo=UTC)
        self.records = MemoryStore().records
        self.people = Access(users or (INES, GIL), {}, keyless=False)
        self.here, self.there = self.server(), self.server()

    def server(self) -> ApiKeys:
        return ApiKeys(self.records, self.people, now=lambda: self.at, clock=lambda: self.at.timestamp())

    def later(self, **by: float) -> None:
        self.at += timedelta(**by)


async def comes(keys: ApiKeys, text: str) -> bool:
    try:
        await keys.holder(text)
    except Unauthenticated:
        return False
    return True


async def test_key_has_the_rights_it_was_made_for_and_its_holder_still_has() -> None:
    scene = Scene()
    made, text = await scene.here.make(INES.principal, name="report", scopes=["chat", "operate"])

    holder = await scene.there.holder(text)
    scene.people = Access([User(id="ines", tenant="acme", scopes=("chat",))], {}, keyless=False)
    later = await scene.server().holder(text)

    assert (holder.user, holder.tenant, holder.scopes, holder.roles) == ("ines", "acme", ("chat", "operate"), ("admin",))
    assert later.scopes == ("chat",)
    assert text not in str([await scene.records.find("acme", "api_key"), made])


async def test_what_comes_of_a_key_can_do_no_more_than_the_key() -> None:
    scene = Scene()
    _, text = await scene.here.make(INES.principal, name="report", scopes=["chat"])
    access = Access([INES], {}, keyless=False, others=[scene.here])
    tokens = StreamTokens(scene.records, access)

    principal = await access.admit(Caller(key=text, forwarded=True, known_origin=False, loopback=False))
    resumed = await access.current(principal)
    streaming = (await tokens.redeem((await tokens.make(principal)).token)).principal

    assert principal.scopes == streaming.scopes == ("chat",)
    assert resumed is not None
    assert resumed.scopes == ("chat",)


@pytest.mark.parametrize("scopes", [["chat", "approvals"], ["keys.write"]])
async def test_key_cannot_have_what_its_holder_lacks_or_make_others(scopes: list[str]) -> None:
    with pytest.raises(Forbidden):
        await Scene().here.make(INES.principal, name="more", scopes=scopes)


async def test_key_that_could_do_nothing_or_is_over_is_not_made() -> None:
    scene = Scene()

    with pytest.raises(InvalidInput):
        await scene.here.make(INES.principal, name="none", scopes=[])
    with pytest.raises(InvalidInput):
        await scene.here.make(INES.principal, name="old", scopes=["chat"], expires_at=scene.at)


async def test_key_counts_until_its_end() -> None:
    scene = Scene()
    _, text = await scene.here.make(INES.principal, name="x", scopes=["chat"], expires_at=scene.at + timedelta(days=1))

    before = await comes(scene.here, text)
    scene.later(days=1)

    assert before
    assert not await comes(scene.here, text)


async def test_key_taken_back_counts_nowhere_within_seconds() -> None:
    scene = Scene()
    made, text = await scene.here.make(INES.principal, name="x", scopes=["chat"])
    used = [await comes(server, text) for server in (scene.here, scene.there, scene.here, scene.there)]

    await scene.here.revoke(INES.principal, made.id)
    at_once = await comes(scene.here, text)
    scene.later(seconds=5)

    assert all(used)
    assert not at_once
    assert not await comes(scene.there, text)


async def test_two_texts_count_while_a_key_is_changed() -> None:
    scene = Scene()
    made, old = await scene.here.make(INES.principal, name="x", scopes=["chat"])
    _, new = await scene.here.rotate(INES.principal, made.id, grace_s=60.0)

    meanwhile = [await comes(scene.here, text) for text in (old, new)]
    scene.later(seconds=61)
    after = [await comes(scene.here, text) for text in (old, new)]

    assert meanwhile == [True, True]
    assert after == [False, True]


async def test_holder_who_is_gone_takes_his_keys_with_him() -> None:
    scene = Scene()
    _, text = await scene.here.make(INES.principal, name="x", scopes=["chat"])
    scene.people = Access([GIL], {}, keyless=False)

    assert not await comes(scene.server(), text)


async def test_keys_of_another_tenant_are_neither_seen_nor_changed() -> None:
    scene = Scene()
    made, text = await scene.here.make(INES.principal, name="x", scopes=["chat"])
    moved = text.replace("qk_acme.", "qk_globex.")

    assert await scene.here.list(GIL.principal) == []
    assert not await comes(scene.here, moved)
    with pytest.raises(NotFound):
        await scene.here.revoke(GIL.principal, made.id)
    with pytest.raises(NotFound):
        await scene.here.rotate(GIL.principal, made.id, grace_s=0)


async def test_key_of_a_colleague_is_not_changed_by_another() -> None:
    scene = Scene()
    made, _ = await scene.here.make(INES.principal, name="x", scopes=["chat"])

    with pytest.raises(NotFound):
        await scene.here.rotate(Principal(user="omar", tenant="acme", scopes=("keys.write",)), made.id, grace_s=0)


@pytest.mark.parametrize(
    "text", ["qk_", "qk_acme.' OR '1'='1." + "0" * 64, "qk_acme.x." + "0" * 64, "qk_../.x.y", "qk_\udcff"]
)
async def test_text_that_is_no_key_lets_nobody_in(text: str) -> None:
    assert not await comes(Scene().here, text)


async def test_life_of_a_key_stands_in_the_audit_log() -> None:
    scene = Scene()
    made, text = await scene.here.make(INES.principal, name="x", scopes=["chat"])
    for _ in range(3):
        await scene.here.holder(text)
    scene.later(hours=2)
    await scene.there.holder(text)
    await scene.here.rotate(INES.principal, made.id, grace_s=0)
    await scene.here.revoke(INES.principal, made.id)

    rows = [(row["action"], row["decision"], row["object"]) for row in await scene.records.audit_rows("acme")]

    told = [("key", "made"), ("login", "allowed"), ("login", "allowed"), ("key", "rotated"), ("key", "revoked")]
    assert rows == [(action, decision, f"key:{made.id}") for action, decision in told]


async def test_what_was_begun_with_a_key_ends_when_it_is_taken_back_and_not_when_it_is_over() -> None:
    scene = Scene()
    access = Access([INES], {}, keyless=False, others=[scene.here])
    _, text = await scene.here.make(INES.principal, name="a", scopes=["chat"], expires_at=scene.at + timedelta(hours=1))
    kept = await access.admit(Caller(key=text, forwarded=True, known_origin=False, loopback=False))
    taken, text = await scene.here.make(INES.principal, name="b", scopes=["chat"])
    gone = await access.admit(Caller(key=text, forwarded=True, known_origin=False, loopback=False))

    await scene.there.revoke(INES.principal, taken.id)
    scene.later(hours=2)

    assert await access.current(gone) is None
    assert await access.current(kept) == kept
    assert await access.current(INES.principal) == INES.principal


async def test_end_of_a_key_is_told_with_that_of_a_text_that_was_changed() -> None:
    scene = Scene()
    end = scene.at + timedelta(hours=2)
    made, first = await scene.here.make(INES.principal, name="a", scopes=["chat"], expires_at=end)
    _, second = await scene.here.rotate(INES.principal, made.id, grace_s=60)

    assert await scene.here.until(first) == scene.at + timedelta(minutes=1)
    assert await scene.here.until(second) == end
    with pytest.raises(Unauthenticated):
        await scene.here.until(first[:-1] + ("0" if first[-1] != "0" else "1"))


async def test_what_was_opened_with_a_text_that_was_changed_ends_when_that_counts_no_longer_and_runs_go_on() -> None:
    scene = Scene()
    access = Access([INES], {}, keyless=False, others=[scene.here])
    made, first = await scene.here.make(INES.principal, name="a", scopes=["chat"])
    opener = await access.admit(Caller(key=first, forwarded=True, known_origin=False, loopback=False))
    token = await StreamTokens(scene.records, access, now=lambda: scene.at).make(opener)
    stays = Stays(access, now=lambda: scene.at)

    _, second = await scene.there.rotate(INES.principal, made.id, grace_s=30)
    scene.later(seconds=10)
    by_token = await StreamTokens(scene.records, access, now=lambda: scene.at).redeem(token.token)
    successor = await access.admit(Caller(key=second, forwarded=True, known_origin=False, loopback=False))
    for stay in (Stay(principal=opener), by_token, Stay(principal=successor)):
        await stays.confirm(stay)
    scene.later(seconds=21)

    for stay in (Stay(principal=opener), by_token):
        with pytest.raises(Unauthenticated, match="is over"):
            await stays.confirm(stay)
    await stays.confirm(Stay(principal=successor))
    await scene.here.rotate(INES.principal, made.id, grace_s=86_400)
    with pytest.raises(Unauthenticated, match="is over"):
        await stays.confirm(Stay(principal=opener))
    assert await access.current(opener) is not None


async def test_keys_are_listed_page_by_page_to_the_oldest() -> None:
    scene = Scene()
    made = [(await scene.here.make(INES.principal, name=f"n{n}", scopes=["chat"]))[0].id for n in range(5)]

    first = await scene.here.list(INES.principal, limit=3)
    rest = await scene.here.list(INES.principal, before=first[-1].id, limit=3)

    assert [key.id for key in (*first, *rest)] == made[::-1]


@pytest.mark.row("S12", part="api keys")
async def test_what_was_done_by_a_server_that_died_over_it_is_not_done_again() -> None:
    scene = Scene()
    made, _ = await scene.here.make(INES.principal, name="report", scopes=["chat"], id="m1")
    _, first = await scene.here.rotate(INES.principal, made.id, grace_s=0, turn="t1")
    _, second = await scene.here.rotate(INES.principal, made.id, grace_s=60, turn="t2")

    with pytest.raises(Conflict, match=r"API key m1, .*rotate or revoke"):
        await scene.there.make(INES.principal, name="report", scopes=["chat"], id="m1")
    for turn in ("t1", "t2"):
        with pytest.raises(Conflict, match="API key m1"):
            await scene.there.rotate(INES.principal, made.id, grace_s=0, turn=turn)

    assert [await comes(scene.server(), text) for text in (first, second)] == [True, True]
