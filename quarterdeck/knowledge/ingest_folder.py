"""A folder of files as a source of documents."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial
from pathlib import Path

from anyio import to_thread

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.ids import hashed_id
from quarterdeck.knowledge.ingest_source import Given, Item, Listing, Origin, check_groups

__all__ = ["FolderSource"]


class FolderSource:
    """The files below a folder; hidden ones are passed over, and nothing outside of it is read."""

    def __init__(
        self, path: Path, *, groups: Collection[str] = (), trusted: bool = False, collection: str | None = None
    ) -> None:
        """
        Args:
            groups: Who may read files whose front matter names no groups; without either, nobody.
            trusted: True only if no outsider can write into the folder.
            collection: A name for where the documents come from, so that the folder may move; by default its place is
                the name.
        """
        self._path = path
        self.origin = Origin(
            collection=collection or hashed_id(str(path.resolve())),
            groups=check_groups(groups),
            trusted=trusted,
            complete=True,
        )

    async def listing(self) -> Listing:
        return await to_thread.run_sync(self._listing)

    def _listing(self) -> Listing:
        if not self._path.is_dir():
            raise InvalidInput(f"{self._path} is no folder")
        root = self._path.resolve()
        items: list[Item] = []
        refused: list[tuple[str, str]] = []
        for folder, folders, names in os.walk(root):  # does not follow links to folders
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith("."):
                    continue
                path = Path(folder, name)
                file = path.relative_to(root).as_posix()
                if not file.isprintable():
                    refused.append((repr(file), "control characters in its name"))
                elif (reason := _no_file(root, path)) is not None:
                    refused.append((file, reason))
                else:
                    items.append(Item(path=file, read=partial(_read, root, file)))
        return Listing(items=items, refused=refused)


def _no_file(root: Path, path: Path) -> str | None:
    if not path.resolve().is_relative_to(root):
        return "a link to a place outside the folder"
    return None if path.is_file() else "no regular file"


async def _read(root: Path, file: str, most: int) -> Given:
    # Who is cancelled does not wait for a slow disk.
    return Given(name=file, data=await to_thread.run_sync(_bytes, root, file, most, abandon_on_cancel=True))


def _bytes(root: Path, file: str, most: int) -> bytes:
    # Looked at again and opened by its real name, so that a link put there since the folder was listed leads nowhere.
    path = (root / file).resolve()
    if not path.is_relative_to(root):
        raise InvalidInput("a link to a place outside the folder")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise TooLarge(f"larger than {most // 1_000_000} MB")
    return data
