"""Archives whose entries are unpacked by others: what is in one is measured while it is inflated, not believed."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib

from quarterdeck.core.errors import InvalidInput, TooLarge

__all__ = ["check_archive"]

MAX_ENTRIES = 10_000
MAX_BYTES = 200_000_000  # of all entries together, inflated
MAX_RATIO = 100
_SMALL = 1_000_000  # inflated bytes below which no ratio is asked for: a page of blanks compresses well
_PIECE = 1 << 16
_DECLARED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']([\w.-]+)", re.IGNORECASE)
_PLAIN_XML = frozenset((b"utf-8", b"us-ascii", b"ascii"))


def check_archive(data: bytes) -> frozenset[str]:
    """The names of the entries of a zip file that is no bomb, leads nowhere and holds no XML that defines entities.

    Raises:
        InvalidInput: It is damaged or encrypted, or an entry is a link, leaves the archive or defines entities.
        TooLarge: Too many entries, or more inflated than the limits allow.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise TooLarge(f"an archive of {len(entries)} entries, {MAX_ENTRIES} are read at most")
            total = 0
            for entry in entries:
                _check_entry(entry)
                total += _inflated(archive, entry, MAX_BYTES - total)
                if total > max(_SMALL, MAX_RATIO * len(data)):
                    raise TooLarge(f"an archive that grows more than {MAX_RATIO} times when it is unpacked")
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        OSError,
        ValueError,
        EOFError,
        NotImplementedError,
        zlib.error,
    ) as error:
        raise InvalidInput(f"a damaged archive: {error}"[:200]) from error
    return frozenset(entry.filename for entry in entries)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise InvalidInput(f"a link in the archive: {name[:60]!r}")
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name.split("/", 1)[0]:
        raise InvalidInput(f"an entry that leads out of the archive: {name[:60]!r}")
    if entry.flag_bits & 1:
        raise InvalidInput("the archive is encrypted: save it without a password")


def _inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> int:
    """How many bytes the entry really has; XML is looked at on the way."""
    is_xml = entry.filename.lower().endswith((".xml", ".rels"))
    size, tail = 0, b""
    with archive.open(entry) as opened:
        while piece := opened.read(_PIECE):
            if is_xml:
                _check_xml(tail + piece, first=size == 0, name=entry.filename)
                tail = piece[-16:]
            size += len(piece)
            if size > left:
                raise TooLarge(f"an archive of more than {MAX_BYTES // 1_000_000} MB when it is unpacked")
            if size > max(_SMALL, MAX_RATIO * entry.compress_size):
                raise TooLarge(
                    f"an entry that grows more than {MAX_RATIO} times when it is unpacked: {entry.filename[:60]!r}"
                )
    return size


def _check_xml(piece: bytes, *, first: bool, name: str) -> None:
    if first:
        declared = _DECLARED.match(piece.removeprefix(b"\xef\xbb\xbf"))
        if (
            b"\0" in piece[:4]
            or piece[:2] in (b"\xff\xfe", b"\xfe\xff")
            or (declared is not None and declared[1].lower() not in _PLAIN_XML)
        ):
            raise InvalidInput(f"XML in another encoding than UTF-8: {name[:60]!r}")
    if b"<!DOCTYPE" in piece or b"<!ENTITY" in piece:
        raise InvalidInput(f"XML that defines a document type or entities: {name[:60]!r}")
