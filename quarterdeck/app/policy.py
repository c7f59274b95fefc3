"""The policy of a folder: over its tools, read again whenever its file has changed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from quarterdeck.agent.loop import Loop
from quarterdeck.app.folder import build_tools
from quarterdeck.app.watched import WatchedFile
from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context
from quarterdeck.core.errors import Misconfigured, QuarterdeckError, Unavailable
from quarterdeck.core.tools import Tool
from quarterdeck.knowledge.tool import search_tool
from quarterdeck.policy import Policy
from quarterdeck.policy.load import load_policy
from quarterdeck.settings import Configuration
from quarterdeck.tools.registry import Registry

__all__ = ["PolicyFile", "Watching", "described"]

log = logging.getLogger(__name__)

_EMPTY = "policy: v1"


class PolicyFile:
    """``policy.yaml`` of a folder, over the tools that are registered.

    Attributes:
        path: Where it is; it need not be there.
    """

    def __init__(self, path: Path, tools: Sequence[Tool]) -> None:
        self.path = path
        self._tools = tuple(tools)
        self._file = WatchedFile(path, None)

    def load(self, text: str) -> Policy:
        """The policy of `text`, which from now on is what the file is compared with. Raises Misconfigured."""
        self._file = WatchedFile(self.path, text or None)
        return load_policy(text or _EMPTY, str(self.path), self._tools)

    def forget(self) -> None:
        """Take the file for changed at the next look, whatever it says."""
        self._file.forget()

    async def changed(self) -> tuple[Policy, str] | None:
        """The policy as the file says it now, and its text; None if it says what it said.

        Raises:
            Misconfigured: It is none, or it is gone; told once for each content.
        """
        text = await self._file.changed()
        return None if text is None else (load_policy(text, str(self.path), self._tools), text)


class Watching:
    """Hands a policy that changed to a loop: calls decided from then on are decided by it, and their record says so.

    A file that is no policy changes nothing: what was in force stays in force, and the log says why.

    Args:
        tell: Told the text of each policy that comes into force, before it does.
        count: Told what became of each change: `in_force`, `refused`, `waits`.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        file: PolicyFile,
        loop: Loop,
        *,
        every_s: float,
        tell: Callable[[str], Awaitable[None]],
        count: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._file = file
        self._loop = loop
        self._every_s = every_s
        self._tell = tell
        self._count = count
        self._sleep = sleep

    async def serve(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        before = self._loop.policy.version
        told = {"file": str(self._file.path), "in_force": before[:12]}
        try:
            changed = await self._file.changed()
            if changed is None:
                return
        except (Misconfigured, OSError, UnicodeDecodeError) as error:
            self._count("refused")
            log.error("policy refused: %s", error, extra=told)
            return
        policy, text = changed
        try:
            await self._tell(text)  # before it holds: nothing is decided by a policy that the audit log does not know
        except QuarterdeckError as error:
            self._file.forget()
            self._count("waits")
            log.error("policy waits for the audit log: %s", error, extra=told)
            return
        self._loop.policy = policy
        self._count("in_force")
        log.info("policy changed", extra={**told, "in_force": policy.version[:12], "before": before[:12]})


@contextmanager
def described(configuration: Configuration) -> Iterator[tuple[Sequence[Tool], Policy]]:
    """The tools of a folder and the policy over them, for whoever looks and calls nothing.

    Raises:
        Misconfigured: The tools cannot be built, or the policy is none.
    """
    with tempfile.TemporaryDirectory() as nowhere:  # tools may keep files, and nothing is to be changed here
        tools = (search_tool(_Unsearched()), *build_tools(configuration.folder, Path(nowhere)))
        Registry(tools).check_undo()
        yield tools, PolicyFile(configuration.folder / "policy.yaml", tools).load(configuration.policy)


class _Unsearched:
    """A search that is described and never made."""

    async def search(self, query: str, ctx: Context, k: int = 6) -> tuple[Sequence[Passage], str]:
        raise Unavailable("nothing is searched for here")
