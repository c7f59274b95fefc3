"""The people of a folder: their file read again whenever it has changed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import anyio

from quarterdeck.app.ground import Ground
from quarterdeck.app.identity import check_apart
from quarterdeck.app.stores import in_turn
from quarterdeck.app.watched import WatchedFile
from quarterdeck.app.workers import Task
from quarterdeck.core.errors import Misconfigured, QuarterdeckError
from quarterdeck.service.access import User
from quarterdeck.settings import Configuration, load_people

__all__ = ["WatchingPeople", "watched_people"]

log = logging.getLogger(__name__)


class WatchingPeople:
    """Knows the people of ``users.yaml`` as it says them now: what is taken from somebody there is gone, runs included.

    A file that is wrong changes nothing: who was known stays known, and the log says why.

    Args:
        users: Those who are known.
        load: Reads them from the folder. Raises Misconfigured.
        hashes: Of the generated keys of some users, made for who has none yet.
        tell: Told who is known from now on, before it holds.
        adopt: Given them with the hashes of their keys.
        count: Told what became of each change: `in_force`, `refused`, `waits`.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        path: Path,
        users: Sequence[User],
        *,
        load: Callable[[], Sequence[User]],
        hashes: Callable[[Sequence[User]], Awaitable[Mapping[str, str]]],
        tell: Callable[[Sequence[User]], Awaitable[None]],
        adopt: Callable[[Sequence[User], Mapping[str, str]], None],
        count: Callable[[str], None],
        every_s: float,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._file = WatchedFile(path, None)
        self._users = tuple(users)
        self._load = load
        self._hashes = hashes
        self._tell = tell
        self._adopt = adopt
        self._count = count
        self._every_s = every_s
        self._sleep = sleep

    async def serve(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        file = str(self._file.path)
        try:
            if await self._file.changed() is None:
                return
            users = tuple(self._load())
            if users == self._users:
                return
            hashes = await self._hashes(users)
        except (Misconfigured, OSError, UnicodeDecodeError) as error:
            self._count("refused")
            log.error("people refused: %s", error, extra={"file": file})
            return
        try:
            await self._tell(users)
        except QuarterdeckError as error:
            self._file.forget()
            self._count("waits")
            log.error("people wait for the audit log: %s", error, extra={"file": file})
            return
        self._adopt(users, hashes)
        self._users = users
        self._count("in_force")
        log.info("people changed", extra={"file": file, "known": len(users)})


def watched_people(configuration: Configuration, ground: Ground) -> list[Task]:
    """What reads changed people while runs go on; nothing where they are read at the start only."""
    every_s = configuration.settings.identity.reload_s
    if every_s is None:
        return []

    def read() -> Sequence[User]:
        users = load_people(configuration.folder)
        check_apart(configuration, users)
        return users

    async def hashes(users: Sequence[User]) -> Mapping[str, str]:
        async with in_turn(configuration):
            ground.keys.ensure(user.id for user in users if user.key == "generated")
            return ground.keys.hashes()

    watching = WatchingPeople(
        configuration.folder / "users.yaml",
        configuration.users,
        load=read,
        hashes=hashes,
        tell=ground.governance.tell_people,
        adopt=ground.identity.adopt,
        count=partial(ground.metrics.configuration_changed, "people"),
        every_s=every_s,
    )
    return [watching.serve]
