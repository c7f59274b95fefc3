"""Messages between processes by Redis publish and subscribe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from quarterdeck.store.redis_link import GONE, RedisLink, redis_client

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

__all__ = ["RedisBus"]

_SILENT_PINGS = 2.5  # pings without an answer until Redis counts as away


class RedisBus:
    """`Bus` over one Redis. While it does not answer, messages are dropped; it is tried again until it does.

    Channels are told apart by the number of the database too, which Redis itself does not do: who shares a server with
    others by taking another number hears nothing of theirs.

    Attributes:
        outages: Times Redis was found not to answer.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.5,
        answer_s: float = 0.05,
        ping_s: float = 1.0,
        away_s: float = 1.0,
        connections: int = 16,
    ) -> None:
        """
        Args:
            url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
            timeout_s: The longest a message, or a new connection, may take.
            answer_s: The longest somebody waits to hear whether a channel is listened to.
            ping_s: Seconds between signs of life.
            away_s: Seconds Redis is left alone once it did not answer.

        Raises:
            Misconfigured: The URL is none.
        """
        # Without repeats: a piece that is said twice would be read twice.
        silence_s = ping_s * _SILENT_PINGS
        self._client = redis_client(url, timeout_s=timeout_s, silence_s=silence_s, connections=connections)
        self._link = RedisLink(
            self._client,
            timeout_s=timeout_s,
            alone_s=away_s,
            without="streams follow the journal alone",
            again="streams are live between processes",
        )
        self._prefix = f"qd:{self._client.connection_pool.connection_kwargs.get('db') or 0}:"
        self._timeout_s = timeout_s
        self._answer_s = answer_s
        self._ping_s = ping_s
        self._away_s = away_s
        self._wanted: set[str] = set()
        self._changed = anyio.Event()
        self._up = False

    @property
    def outages(self) -> int:
        return self._link.outages

    @property
    def up(self) -> bool:
        return self._up

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        if not self._up or not messages:
            return
        try:
            with anyio.fail_after(self._timeout_s):
                pipe = self._client.pipeline(transaction=False)
                for channel, message in messages:
                    pipe.publish(self._prefix + channel, message)
                await pipe.execute()
        except GONE as error:
            self._lost(error)

    async def listened(self, channel: str) -> bool:
        if not self._up:
            return False
        try:
            with anyio.fail_after(self._answer_s):
                [(_, listeners)] = await self._client.pubsub_numsub(self._prefix + channel)
        except GONE:
            return False
        return bool(listeners > 0)

    def listen(self, channel: str) -> None:
        self._wanted.add(channel)
        self._changed.set()

    def leave(self, channel: str) -> None:
        self._wanted.discard(channel)
        self._changed.set()

    async def serve(self, heard: Callable[[str, bytes], None], joined: Callable[[str], None]) -> None:
        while True:
            try:
                await self._linked(heard, joined)
            except* Exception as errors:  # noqa: BLE001 - the journal has it all: nothing here may end a process
                # Besides errors of the network there is one of the client: as a line breaks, both who reads and who
                # pings connect it anew, and then two wait for the same bytes (a RuntimeError).
                self._lost(errors.exceptions[0])
            finally:
                self._up = False
            await anyio.sleep(self._away_s)

    async def close(self) -> None:
        await self._link.close()

    async def _linked(self, heard: Callable[[str, bytes], None], joined: Callable[[str], None]) -> None:
        """Listen over one connection, until it breaks."""
        async with self._client.pubsub() as link, anyio.create_task_group() as tasks:
            await link.connect()
            tasks.start_soon(self._tune, link)
            while True:
                # Silence beyond the socket's time-out raises: pings are answered, as long as anybody is there.
                message = await link.get_message(timeout=None)
                self._back()
                if message is None:
                    continue
                match message["type"]:
                    case "message":
                        heard(self._named(message["channel"]), message["data"])
                        await anyio.lowlevel.checkpoint()  # a flood must not keep readers from emptying their buffers
                    case "subscribe":
                        joined(self._named(message["channel"]))

    async def _tune(self, link: PubSub) -> None:
        """Keep what is listened to at what is wanted, and the line alive."""
        tuned: set[str] = set()
        await link.ping()
        while True:
            self._changed = anyio.Event()
            wanted = set(self._wanted)
            if new := wanted - tuned:
                await link.subscribe(*(self._prefix + channel for channel in new))
            if old := tuned - wanted:
                await link.unsubscribe(*(self._prefix + channel for channel in old))
            tuned = wanted
            with anyio.move_on_after(self._ping_s) as silence:
                await self._changed.wait()
            if silence.cancelled_caught:
                await link.ping()

    def _named(self, channel: bytes) -> str:
        return channel.decode().removeprefix(self._prefix)

    def _lost(self, error: BaseException) -> None:
        self._up = False
        self._link.lost(error)

    def _back(self) -> None:
        self._up = True
        self._link.answered()
