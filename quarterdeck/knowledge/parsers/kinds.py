"""Which kind of file this is. Its content says so; its name only tells apart kinds of plain text, and may not contradict."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from quarterdeck.core.errors import InvalidInput, TooLarge

__all__ = ["KINDS", "Kind", "kind_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file that can be read.

    Attributes:
        module: Where its ``parse`` is; imported only when such a file comes, in the process that reads it.
        limited: True if it is read in a limited process: its format is one that can be used against its reader.
        suffixes: What names of such files end in, lower case.
        magic: What the content begins with; empty for plain text, of which the name says what it is.
        max_bytes: Larger files are refused unread.
        extra: The extra that brings its reader, empty if none is needed.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    limited: bool = True
    magic: bytes = b""
    max_bytes: int = 5_000_000
    extra: str = ""


_HERE = "quarterdeck.knowledge.parsers."
_HTML = "HTML"  # recognised by a pattern, since blanks, a comment or another case may come first
KINDS = (
    Kind(name="Markdown", module=_HERE + "markdown", suffixes=(".md", ".markdown"), limited=False),
    Kind(name="text", module=_HERE + "text", suffixes=(".txt", ".text"), limited=False),
    Kind(name="CSV", module=_HERE + "rows", suffixes=(".csv", ".tsv")),
    Kind(name="JSON", module=_HERE + "tree", suffixes=(".json",)),
    Kind(name=_HTML, module=_HERE + "html", suffixes=(".html", ".htm", ".xhtml"), extra="documents"),
    Kind(
        name="PDF",
        module=_HERE + "pdf",
        suffixes=(".pdf",),
        magic=b"%PDF-",
        max_bytes=32_000_000,
        extra="documents",
    ),
    Kind(
        name="DOCX",
        module=_HERE + "docx",
        suffixes=(".docx",),
        magic=b"PK\x03\x04",
        max_bytes=32_000_000,
        extra="documents",
    ),
)

_LOOKED_AT = 4096  # bytes at the beginning in which a kind must show
_IS_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--(?:(?!-->).){0,2000}-->\s*)*<(?:!doctype\s+html|html)\b",
    re.IGNORECASE | re.DOTALL,
)
_HAS_TAG = re.compile(rb"<(?:[a-z][a-z0-9]*|!--)[\s/>]", re.IGNORECASE)
_IS_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|svg)\b", re.IGNORECASE)
_FOREIGN = (  # what a document is most often confused with; told by name, so that a person knows what to do
    (b"MZ\x90\x00", "a program"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF87a", "a picture"),
    (b"GIF89a", "a picture"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file, or an encrypted one: save it as DOCX without a password"),
    (b"{\\rtf", "rich text: save it as DOCX"),
    (b"\x1f\x8b", "a compressed file"),
    (b"7z\xbc\xaf", "an archive"),
    (b"Rar!\x1a", "an archive"),
)


def kind_of(name: str, data: bytes, kinds: tuple[Kind, ...] = KINDS) -> Kind:
    """The kind of a file.

    Args:
        name: Decides between kinds of plain text. A name without a suffix says nothing; text is then plain text.

    Raises:
        InvalidInput: No such kind can be read, or name and content contradict each other.
        TooLarge: The file is larger than its kind may be.
    """
    if not data:
        raise InvalidInput("the file is empty")
    suffix = PurePosixPath(name).suffix.lower()
    named = next((kind for kind in kinds if suffix in kind.suffixes), None)
    shown = _shown(data, kinds)
    if suffix and named is None:
        known = ", ".join(sorted(end for kind in kinds for end in kind.suffixes))
        raise InvalidInput(f"no parser for this kind of file; known are {known}")
    if shown is None:
        part_of_page = named is not None and named.name == _HTML and _HAS_TAG.search(data[:_LOOKED_AT])
        if named is not None and (named.magic or named.name == _HTML) and not part_of_page:
            raise InvalidInput(f"named {suffix}, but its content is not {named.name}")
        shown = named or next(kind for kind in kinds if kind.name == "text")
    elif named not in (None, shown):
        raise InvalidInput(f"named {suffix}, but its content is {shown.name}: name it {shown.suffixes[0]}")
    if len(data) > shown.max_bytes:
        raise TooLarge(f"larger than {shown.max_bytes // 1_000_000} MB")
    return shown


def _shown(data: bytes, kinds: tuple[Kind, ...]) -> Kind | None:
    """The kind that the content shows, None if it may be plain text."""
    head = data[:_LOOKED_AT]
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise InvalidInput(f"its content is {what}")
    for kind in kinds:
        if kind.magic and head.startswith(kind.magic):
            _check_one_thing(kind, data)
            return kind
    if _IS_HTML.match(head):
        return next((kind for kind in kinds if kind.name == _HTML), None)
    if _IS_XML.match(head):
        raise InvalidInput("its content is XML, which is not read")
    return None


def _check_one_thing(kind: Kind, data: bytes) -> None:
    """A file that is two things shows one to whoever checks it and the other to whoever is to be fooled."""
    try:
        is_zip = zipfile.is_zipfile(io.BytesIO(data))
    except zipfile.BadZipFile:  # of several disks: an archive too, though none that can be opened
        is_zip = True
    is_pdf = b"%PDF-" in data[:1024]
    if is_zip != kind.magic.startswith(b"PK") or is_pdf != kind.magic.startswith(b"%PDF"):
        raise InvalidInput(f"damaged, or two kinds of file at once: it begins as {kind.name} and is not only that")
