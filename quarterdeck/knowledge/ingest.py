"""Brings a folder of files into an index: what is new or changed is read, what has vanished is forgotten.

A file that cannot be read is refused with its reason and does not stop the others. Nothing of an older version of it stays
searchable, because its access list may be what changed.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from anyio import to_thread

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.ids import content_hash, hashed_id
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import Chunk, Document, KnowledgeIndex
from quarterdeck.knowledge.chunk import SPLITTER, split
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.process import Limits
from quarterdeck.knowledge.parsers.read import READER, DocumentReader

__all__ = ["IngestReport", "Ingester", "Progress"]

Progress = Callable[[int, int, str], None]
"""Told before each file: how many are done, how many there are, and its path within the folder."""

_ID_LENGTH = 56  # leaves room for the number of a passage within the 64 characters of an id
_NOT_ID = re.compile(r"[^a-z0-9_]+")
_GROUP = re.compile(r"(?:user:)?[\w.@-]{1,128}\Z")
_SCHEME = re.compile(r"([^/?#:]*):")
_OWN_KEYS = frozenset({"title", "groups", "uri"})
_RESERVED = frozenset({"trusted", "collection", "path", "hash"})  # trust is declared for a folder, never by a file in it


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of a folder.

    Attributes:
        added, updated, unchanged: Numbers of files.
        removed: Number of documents whose file vanished or is refused now.
        refused: (file, reason) of what is not in the index.
        warnings: (file, what a person should know), such as a document that nobody may read.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Tally:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)


class Ingester:
    """Fills an index for one tenant.

    Attributes:
        size, overlap: Of chunks, in characters.
        limits: What reading one file may take, of those that are read in a process of their own.
    """

    def __init__(
        self, index: KnowledgeIndex, tenant: str, *, size: int = 800, overlap: int = 0, limits: Limits | None = None
    ) -> None:
        self._index = index
        self._tenant = tenant
        self._size = size
        self._overlap = overlap
        self._limits = limits

    async def ingest_folder(
        self,
        path: Path,
        *,
        groups: Collection[str] = (),
        trusted: bool = False,
        collection: str | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Make the index hold what the folder holds.

        Args:
            groups: Who may read files whose front matter names no groups; without either, nobody.
            trusted: True only if no outsider can write into the folder.
            collection: A name for where the documents come from, so that the folder may move; by default its place is
                the name.

        Raises:
            InvalidInput: `path` is no folder, or `groups` holds something that is no group.
        """
        if not await to_thread.run_sync(path.is_dir):
            raise InvalidInput(f"{path} is no folder")
        defaults = _check_groups(groups)
        root = await to_thread.run_sync(path.resolve)
        collection = collection or hashed_id(str(root))
        tally = _Tally()
        files = await to_thread.run_sync(lambda: list(_files(root, tally)))
        catalogue = dict(await self._index.catalogue(self._tenant))
        ids = {meta["path"]: doc for doc, meta in catalogue.items() if meta.get("collection") == collection}
        taken = set(catalogue)
        current: set[str] = set()
        with DocumentReader(self._limits) as reader:
            for number, file in enumerate(files):
                if progress is not None:
                    progress(number, len(files), file)
                doc_id = ids.get(file) or _new_id(file, collection, taken)
                taken.add(doc_id)
                known = catalogue.get(doc_id, {}).get("hash")
                work = _Work(file=file, doc_id=doc_id, collection=collection, known=known, groups=defaults, trusted=trusted)
                if await self._ingest(root, work, tally, reader):
                    current.add(doc_id)
        if progress is not None:
            progress(len(files), len(files), "")
        removed = await self._index.delete(self._tenant, sorted(set(ids.values()) - current))
        return IngestReport(
            added=tally.added,
            updated=tally.updated,
            unchanged=tally.unchanged,
            removed=removed,
            refused=tuple(tally.refused),
            warnings=tuple(tally.warnings),
        )

    async def _ingest(self, root: Path, work: _Work, tally: _Tally, reader: DocumentReader) -> bool:
        """Bring one file in; False if it was refused."""
        try:
            # Who is cancelled does not wait for a slow file: the reader is closed, and with it the process that reads.
            made = await to_thread.run_sync(self._read, root, work, reader, abandon_on_cancel=True)
        except (InvalidInput, OSError) as error:
            reason = str(error) if isinstance(error, InvalidInput) else f"cannot be read: {error.strerror or error}"
            tally.refused.append((work.file, reason))
            return False
        if made is None:
            tally.unchanged += 1
            return True
        document, chunks, warnings = made
        tally.warnings += ((work.file, warning) for warning in warnings)
        if not document.groups:
            tally.warnings.append((work.file, "nobody may read it: name groups in its front matter or for the folder"))
        await self._index.upsert(document, chunks)
        if work.known is None:
            tally.added += 1
        else:
            tally.updated += 1
        return True

    def _read(self, root: Path, work: _Work, reader: DocumentReader) -> tuple[Document, list[Chunk], Sequence[str]] | None:
        """The document, its chunks and what to tell of it, None if the index has them already."""
        data = _bytes(root, work.file, reader.max_bytes)
        made_from = content_hash(
            [
                hashlib.sha256(data).hexdigest(),
                sorted(work.groups),
                work.trusted,
                ANALYZER,
                READER,
                SPLITTER,
                self._size,
                self._overlap,
            ]
        )
        if made_from == work.known:
            return None
        parsed = reader.read(work.file, data)
        chunks = split(parsed.text, parsed.blocks, size=self._size, overlap=self._overlap)
        if not chunks:
            raise InvalidInput("there is no text in it")
        return _document(self._tenant, work, parsed, made_from), chunks, parsed.warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One file to bring in. `known` is the hash the index has of it, None if it has nothing."""

    file: str
    doc_id: str
    collection: str
    known: str | None
    groups: frozenset[str]
    trusted: bool


def _document(tenant: str, work: _Work, parsed: Parsed, made_from: str) -> Document:
    front = parsed.front
    if reserved := sorted(front.keys() & _RESERVED):
        raise InvalidInput(f"the front matter may not set {', '.join(reserved)}")
    for key in front:
        if key not in _OWN_KEYS and difflib.get_close_matches(key.lower(), ("groups",), cutoff=0.8):
            raise InvalidInput(f"the front matter has {key!r}: write 'groups' to say who may read it")
    own = front.get("groups")
    title, uri = (front.get(key, "") for key in ("title", "uri"))
    if not isinstance(title, str) or not isinstance(uri, str):
        raise InvalidInput("title and uri in the front matter must be one value, not a list")
    if (scheme := _SCHEME.match(uri)) and scheme[1].lower() not in ("http", "https"):
        raise InvalidInput(f"the uri {uri[:60]!r} is no http(s) address: people are to open it with a click")
    meta = {
        key: value if isinstance(value, str) else ", ".join(value) for key, value in front.items() if key not in _OWN_KEYS
    }
    return Document(
        id=work.doc_id,
        tenant=tenant,
        title=title or parsed.title or PurePosixPath(work.file).stem,
        text=parsed.text,
        groups=work.groups if own is None else _check_groups((own,) if isinstance(own, str) else own),
        trusted=work.trusted,
        uri=uri,
        meta={**meta, "collection": work.collection, "path": work.file, "hash": made_from},
    )


def _check_groups(groups: Collection[str]) -> frozenset[str]:
    for group in groups:
        if _GROUP.match(group) is None:
            raise InvalidInput(f"{group[:60]!r} is no group: use a name without spaces, or user:<id>")
    return frozenset(groups)


def _files(root: Path, tally: _Tally) -> Iterator[str]:
    """Paths of the files below `root`, relative, in order; hidden ones are passed over, those outside are refused."""
    for folder, folders, names in os.walk(root):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(folder, name)
            file = path.relative_to(root).as_posix()
            if not path.resolve().is_relative_to(root):
                tally.refused.append((file, "a link to a place outside the folder"))
            elif not path.is_file():
                tally.refused.append((file, "no regular file"))
            elif not file.isprintable():
                tally.refused.append((repr(file), "control characters in its name"))
            else:
                yield file


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


def _new_id(file: str, collection: str, taken: Collection[str]) -> str:
    """An id a person can read, from the path; with a hash where it would be long, not ASCII, or is taken."""
    stem = PurePosixPath(file).with_suffix("").as_posix()
    slug = _NOT_ID.sub("-", stem.lower()).strip("-")
    if stem.isascii() and 0 < len(slug) <= _ID_LENGTH and slug not in taken:
        return slug
    noise = hashed_id(collection, file)[:16]
    readable = slug[: _ID_LENGTH - len(noise) - 1].strip("-") if stem.isascii() else ""
    return f"{readable or 'doc'}-{noise}"
