"""The bus over Redis is only speed: whatever goes wrong in it ends nothing."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from quarterdeck.store.bus_redis import RedisBus


@pytest.mark.row("S3", part="without redis")
async def test_an_error_of_the_client_itself_counts_as_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = RedisBus("redis://127.0.0.1:1/0", away_s=0.0)
    again = anyio.Event()
    asked = 0

    async def linked(heard: Callable[[str, bytes], None], joined: Callable[[str], None]) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ExceptionGroup("tasks", [RuntimeError("another coroutine is already waiting for incoming data")])
        again.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(bus, "_linked", linked)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.serve, lambda channel, message: None, lambda channel: None)
        with anyio.fail_after(5):
            await again.wait()
        tasks.cancel_scope.cancel()
    await bus.close()

    assert (asked, bus.outages, bus.up) == (2, 1, False)
