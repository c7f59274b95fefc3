"""PDF: the text of its pages in order. Every passage says its page; pictures, scripts and attached files are not read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.compose import Composition

__all__ = ["parse"]

MAX_PAGES = 2_000
_PAGE_LEVEL = 9  # below every heading of an outline
_ENDS = re.compile(r"[.!?:;。！？：；]['\"”’)\]]?\Z")
# Errors of a page that breaks the rules of the format; whatever else goes wrong ends the process that reads it.
_BROKEN = (PyPdfError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, ArithmeticError)


def parse(data: bytes) -> Parsed:
    """Read a PDF file.

    Raises:
        InvalidInput: It is encrypted, has no page that can be read, or holds no text, as scanned paper does.
        TooLarge: It has more than 2,000 pages.
    """
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise InvalidInput("the PDF is encrypted: save it without a password")
        count = len(reader.pages)
    except (*_BROKEN, RecursionError) as error:
        raise InvalidInput(f"no PDF that can be read: {type(error).__name__}: {error}"[:200]) from error
    if count > MAX_PAGES:
        raise TooLarge(f"{count} pages, {MAX_PAGES} are read at most")
    made = Composition()
    made.title = _title(reader)
    outline = _outline(reader, count)
    unread = _write(made, reader, count, outline)
    if unread:
        made.warn(f"{len(unread)} of {count} pages could not be read, the first is page {unread[0]}")
    if _has_attachments(reader):
        made.warn("the files attached to it were not read")
    parsed = made.finish()
    if not parsed.blocks:
        raise InvalidInput("there is no text in it; scanned pages need text recognition first")
    return parsed


def _write(made: Composition, reader: PdfReader, count: int, outline: Mapping[int, list[tuple[int, str]]]) -> list[int]:
    """All pages; the numbers of those that could not be read."""
    unread = []
    for number in range(count):
        for level, name in outline.get(number, ()):
            made.below(level, name)
        made.below(_PAGE_LEVEL, f"page {number + 1}")
        try:
            text = reader.pages[number].extract_text()
        except (*_BROKEN, RecursionError):
            unread.append(number + 1)
            continue
        for paragraph in re.split(r"\n\s*\n", text):
            made.prose("".join(_joined(paragraph)))
    return unread


def _joined(paragraph: str) -> Iterator[str]:
    """The lines of a page end where paper does; sentences go on over them."""
    before = ""
    for line in (line.strip() for line in paragraph.split("\n")):
        if not line:
            continue
        if before:
            goes_on = not _ENDS.search(before) and (line[0].islower() or has_cjk(before[-1] + line[0]))
            yield ("" if has_cjk(before[-1]) and has_cjk(line[0]) else " ") if goes_on else "\n"
        yield line
        before = line


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata is not None else None
    except _BROKEN:
        return ""
    return title if isinstance(title, str) else ""


def _outline(reader: PdfReader, count: int) -> Mapping[int, list[tuple[int, str]]]:
    """Headings by the page they begin on, from the file's own table of contents; none if that is broken."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        stack: list[tuple[int, Iterator[Any]]] = [(1, iter(reader.outline))]
        while stack:
            level, entries = stack[-1]
            for entry in entries:
                if isinstance(entry, list):
                    stack.append((min(level + 1, _PAGE_LEVEL - 1), iter(entry)))
                    break
                page = reader.get_destination_page_number(entry)
                if page is not None and 0 <= page < count:
                    found.setdefault(page, []).append((level, str(entry.title)))
            else:
                stack.pop()
    except (*_BROKEN, RecursionError):
        return {}
    return found


def _has_attachments(reader: PdfReader) -> bool:
    try:
        return next(iter(reader.attachment_list), None) is not None
    except (*_BROKEN, RecursionError):
        return True
