"""Checkpoints show what the database alone cannot: a tail cut off with its head, or a chain written anew."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.service.auditing import checked
from quarterdeck.service.witness import Witness
from quarterdeck.store.checkpoint_places import FileCheckpoints, KeptCheckpoints, PrintedCheckpoints, read_checkpoints
from quarterdeck.store.checkpoints import Checkpoint, PublicKeys, Signer
from quarterdeck.store.keyvalue import FolderKeyValue
from quarterdeck.store.memory import MemoryStore
from quarterdeck.store.sqlite_store import DATABASE_NAME, open_sqlite
from tests.contracts.stores import Clock, audit

pytestmark = pytest.mark.row("G7", part="checkpoints")


async def written(store: MemoryStore, count: int, tenant: str = "acme") -> None:
    await store.records.write(tenant, [audit(f"x{n}") for n in range(count)])


async def test_the_end_of_each_log_is_signed_when_it_is_old_or_far_enough(tmp_path: Path) -> None:
    clock, store = Clock(), MemoryStore(clock=Clock())
    place = FileCheckpoints(tmp_path / "elsewhere" / "checkpoints")
    signer = Signer.of(tmp_path / "audit.key")
    witness = Witness(store.records, signer, place, interval_s=60, every_rows=10, now=clock)
    await written(store, 3)
    await written(store, 1, "beta")

    first = await witness.once()
    await written(store, 2)
    soon = await witness.once()
    await written(store, 8)
    many = await witness.once()
    clock.pass_by(seconds=61)
    await written(store, 1)
    later = await witness.once()
    nothing_new = await witness.once()

    assert (first, soon, many, later, nothing_new) == (2, 0, 1, 1, 0)
    kept = read_checkpoints(tmp_path / "elsewhere" / "checkpoints")
    assert sorted((each.tenant, each.seq) for each in kept) == [("acme", 3), ("acme", 13), ("acme", 14), ("beta", 1)]
    trusted = PublicKeys.read([tmp_path / "audit.pub"])
    assert all(trusted.vouch(each) for each in kept)
    assert (await checked(store.records, "acme", [each for each in kept if each.tenant == "acme"])).bad is None


async def test_a_tail_that_was_cut_off_with_its_head_is_missing_in_the_checkpoints_and_is_not_signed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, store = Clock(), open_sqlite(tmp_path / "data")
    file = tmp_path / "checkpoints"
    signer = Signer.of(tmp_path / "audit.key")
    witness = Witness(store.records, signer, FileCheckpoints(file), now=clock)
    await store.records.write("acme", [audit(f"x{n}") for n in range(8)])
    await witness.once()
    connection = sqlite3.connect(tmp_path / "data" / DATABASE_NAME)
    with connection:
        (head,) = connection.execute("SELECT hash FROM audit WHERE tenant = 'acme' AND seq = 5").fetchone()
        connection.execute("DELETE FROM audit WHERE tenant = 'acme' AND seq > 5")
        connection.execute("UPDATE audit_heads SET seq = 5, hash = ? WHERE tenant = 'acme'", (head,))
    connection.close()

    alone = await checked(store.records, "acme")
    compared = await checked(store.records, "acme", read_checkpoints(file))
    clock.pass_by(hours=1)
    signed = await witness.once()
    # Even once the log is longer again than it was when it was signed.
    await store.records.write("acme", [audit(f"y{n}") for n in range(9)])
    longer = await checked(store.records, "acme", read_checkpoints(file))
    signed_longer = await witness.once()

    await store.close()
    assert (alone.bad, compared.bad, longer.bad) == (None, 6, 8)
    assert (signed, signed_longer) == (0, 0)
    assert "the audit log was changed" in caplog.text


async def test_a_checkpoint_that_was_changed_or_signed_by_another_is_not_vouched_for(tmp_path: Path) -> None:
    signer, other = Signer.of(tmp_path / "a.key"), Signer.of(tmp_path / "b.key")
    trusted = PublicKeys.read([tmp_path / "a.pub"])
    good = signer.sign("acme", 5, "f" * 64, Clock().now)

    again = Checkpoint.parse(good.line)
    changed = Checkpoint.parse(good.line.replace('"seq":5', '"seq":4'))
    foreign = other.sign("acme", 5, "f" * 64, Clock().now)

    assert again == good
    assert [trusted.vouch(each) for each in (again, changed, foreign)] == [True, False, False]
    with pytest.raises(InvalidInput):
        Checkpoint.parse(good.line[:-20])


async def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    first = Signer.of(tmp_path / "audit.key")

    again = Signer.of(tmp_path / "audit.key")

    assert again.public == first.public
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    (tmp_path / "audit.key").write_text("nonsense")
    with pytest.raises(Misconfigured, match="is damaged"):
        Signer.of(tmp_path / "audit.key")


async def test_checkpoints_rest_where_state_rests_and_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MemoryStore(clock=Clock())
    signer = Signer.of(tmp_path / "audit.key")
    elsewhere = KeptCheckpoints(FolderKeyValue(tmp_path / "states", secret=b"s" * 16))
    await written(store, 4)

    for place in (elsewhere, PrintedCheckpoints()):
        assert await Witness(store.records, signer, place).once() == 1

    kept = await elsewhere.latest("acme")
    assert kept is not None
    assert (kept.seq, kept.tenant) == (4, "acme")
    printed = Checkpoint.parse(capsys.readouterr().out)
    assert (printed.seq, printed.tenant, printed.hash) == (4, "acme", kept.hash)
