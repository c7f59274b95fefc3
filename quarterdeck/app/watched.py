"""A file that is looked at again and again, and what it says when it says something else."""

from __future__ import annotations

from pathlib import Path

import anyio

from quarterdeck.core.errors import Misconfigured

__all__ = ["WatchedFile"]


class WatchedFile:
    """A file of a configuration folder.

    Args:
        path: Where it is; it need not be there.
        text: What it says as far as is known; None if it is not there.
    """

    def __init__(self, path: Path, text: str | None) -> None:
        self.path = path
        self._text = text
        self._seen: str | None = None

    def forget(self) -> None:
        """Take the file for changed at the next look, whatever it says."""
        self._text = ""

    async def changed(self) -> str | None:
        """What the file says now; None if it says what it said.

        Only what two looks have found alike is taken: a file that is being written may be whole already, and a weaker one.

        Raises:
            Misconfigured: It is gone; told once.
        """
        text = await self._read()
        if text != self._seen:
            self._seen = text
            return None
        if text == self._text:
            return None
        self._text = text
        if text is None:
            raise Misconfigured(f"{self.path}: it was there and is gone")
        return text

    async def _read(self) -> str | None:
        path = anyio.Path(self.path)
        return await path.read_text(encoding="utf-8") if await path.is_file() else None
