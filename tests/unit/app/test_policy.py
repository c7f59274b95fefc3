"""A policy file that changes under a running loop."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from quarterdeck.app.policy import PolicyFile, Watching
from quarterdeck.core.errors import Conflict
from quarterdeck.tools import tool


@tool(effect="write")
def pay(amount: int) -> None: ...


def strict(risk: int) -> str:
    return f"policy: v1\ntools:\n  pay: {{risk: {risk}}}\n"


class Desk:
    """A loop that has a policy, and an audit log that can be away."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "policy.yaml"
        self.file.write_text(text)
        policies = PolicyFile(self.file, [pay])
        self.loop: Any = SimpleNamespace(policy=policies.load(text))
        self.told: list[str] = []
        self.away = False
        self.slept: list[float] = []
        self.counted: list[str] = []
        self.watching = Watching(
            policies, self.loop, every_s=5.0, tell=self.tell, count=self.counted.append, sleep=self.sleep
        )

    async def look(self) -> None:
        """Look twice: what changes between two looks is still being written."""
        await self.watching.look()
        await self.watching.look()

    async def tell(self, text: str) -> None:
        if self.away:
            raise Conflict("the store is away")
        self.told.append(text)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) > 3:
            await anyio.sleep_forever()

    @property
    def risk(self) -> int:
        return int(self.loop.policy.entry(pay).risk)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, strict(2))


@pytest.mark.row("G4", part="hot swap")
async def test_a_changed_file_is_told_and_then_in_force(desk: Desk) -> None:
    before = desk.loop.policy.version
    await desk.look()
    unchanged = desk.loop.policy.version

    desk.file.write_text(strict(3))
    await desk.look()
    await desk.look()

    assert unchanged == before
    assert (desk.risk, desk.told) == (3, [strict(3)])
    assert desk.loop.policy.version != before


@pytest.mark.row("G4", part="hot swap")
async def test_a_wrong_file_changes_nothing_and_is_said_once_with_its_line(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.file.write_text(strict(1))

    with caplog.at_level(logging.ERROR):
        await desk.look()
        await desk.look()

    assert (desk.risk, desk.told, desk.counted) == (2, [], ["refused"])
    (record,) = caplog.records
    assert "policy.yaml:3" in record.getMessage()


@pytest.mark.row("G4", part="hot swap")
async def test_a_policy_the_audit_log_cannot_be_told_of_waits_until_it_can(desk: Desk) -> None:
    desk.file.write_text(strict(3))
    desk.away = True
    await desk.look()
    meanwhile = desk.risk

    desk.away = False
    await desk.look()

    assert (meanwhile, desk.risk, desk.told) == (2, 3, [strict(3)])
    assert desk.counted == ["waits", "in_force"]


@pytest.mark.row("G4", part="hot swap")
@pytest.mark.parametrize("half", ["policy: v1\n", "", None])
async def test_a_file_that_is_half_written_or_gone_for_a_moment_changes_nothing(desk: Desk, half: str | None) -> None:
    desk.file.write_text(strict(3))
    await desk.look()

    if half is None:
        desk.file.unlink()
    else:
        desk.file.write_text(half)
    await desk.watching.look()
    desk.file.write_text(strict(3))
    await desk.look()

    assert (desk.risk, desk.told) == (3, [strict(3)])


@pytest.mark.row("G4", part="hot swap")
@pytest.mark.parametrize("text", ["", None])
async def test_a_file_that_stays_empty_or_gone_leaves_in_force_what_was(desk: Desk, text: str | None) -> None:
    desk.file.write_text(strict(3))
    await desk.look()

    if text is None:
        desk.file.unlink()
    else:
        desk.file.write_text(text)
    await desk.look()

    assert (desk.risk, desk.told) == (3, [strict(3)])


async def test_a_folder_without_the_file_may_get_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "")
    desk.file.unlink()
    await desk.look()
    before = list(desk.told)

    desk.file.write_text(strict(3))
    await desk.look()

    assert (before, desk.told, desk.risk) == ([], [strict(3)], 3)


async def test_the_file_is_looked_at_again_and_again(desk: Desk) -> None:
    desk.file.write_text(strict(3))

    with anyio.move_on_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.watching.serve)
            while len(desk.slept) < 4:
                await anyio.sleep(0)
            tasks.cancel_scope.cancel()

    assert (desk.risk, desk.slept) == (3, [5.0] * 4)
