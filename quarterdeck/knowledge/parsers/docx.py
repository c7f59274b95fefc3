"""DOCX: paragraphs, headings and tables of the body. Hidden and deleted text is left out, embedded files are not opened."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from docx import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.parsers.archive import check_archive
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.compose import Composition

__all__ = ["parse"]

_PARAGRAPH, _TABLE, _ROW, _CELL, _RUN = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "r"))
_TEXT, _TAB, _BREAKS = qn("w:t"), qn("w:tab"), (qn("w:br"), qn("w:cr"))
_SKIPPED = (qn("w:del"), qn("w:moveFrom"), qn("w:pict"), qn("w:object"), qn("w:drawing"))
_ALTERNATIVE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
_HIDDEN = f"{qn('w:rPr')}/{qn('w:vanish')}"
_NO = ("0", "false", "off", "none")


def parse(data: bytes) -> Parsed:
    """Read a Word file. Raises InvalidInput or TooLarge for an archive that is damaged, hostile or no Word file."""
    names = check_archive(data)
    if "[Content_Types].xml" not in names or not any(name.startswith("word/") for name in names):
        raise InvalidInput("an archive, but no Word file")
    try:
        document = Document(io.BytesIO(data))
    except (PackageNotFoundError, ValueError, KeyError, AttributeError, SyntaxError) as error:
        raise InvalidInput(f"a damaged Word file: {type(error).__name__}: {error}"[:200]) from error
    levels = {style.style_id: _level(style.name or "") for style in document.styles}
    made = Composition()
    made.title = document.core_properties.title or ""
    left_out = [0]
    for element in _flat(document.element.body):
        if element.tag == _TABLE:
            made.lines("\n".join(_rows(element, left_out)))
        else:
            _paragraph(made, element, levels, left_out)
    if left_out[0]:
        made.warn(f"{left_out[0]} hidden {'part was' if left_out[0] == 1 else 'parts were'} left out")
    if any(name.startswith("word/embeddings/") for name in names):
        made.warn("the files embedded in it were not read")
    return made.finish()


def _level(style: str) -> int | None:
    """0 for a title, 1 and up for headings, None for everything else."""
    name = style.lower()
    if name == "title":
        return 0
    number = name.removeprefix("heading ")
    return int(number) if name != number and number in tuple("123456789") else None


def _paragraph(made: Composition, element: Any, levels: Mapping[str, int | None], left_out: list[int]) -> None:
    text = "".join(_words(element, left_out))
    level = levels.get(element.style or "")
    if level is None:
        made.prose(text)
    elif level == 0:
        made.title = made.title or text
        made.heading(1, text)
    else:
        made.heading(level, text)


def _flat(body: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, also those inside content controls and insertions."""
    stack = [iter(body)]
    while stack:
        for element in stack[-1]:
            if element.tag in (_PARAGRAPH, _TABLE):
                yield element
            elif element.tag not in _SKIPPED:
                stack.append(iter(element))
                break
        else:
            stack.pop()


def _rows(table: Any, left_out: list[int]) -> Iterator[str]:
    for row in table.iter(_ROW):
        cells = (" ".join("".join(_words(cell, left_out)).split()) for cell in row.iterchildren(_CELL))
        yield " | ".join(cells)


def _words(element: Any, left_out: list[int]) -> Iterator[str]:
    """The text of an element that a reader of the printed page sees."""
    stack = [iter(element)]
    while stack:
        for part in stack[-1]:
            if part.tag == _TEXT:
                yield part.text or ""
            elif part.tag == _TAB:
                yield "\t"
            elif part.tag in _BREAKS:
                yield "\n"
            elif part.tag == _RUN and _is_hidden(part):
                left_out[0] += 1
            elif part.tag not in (*_SKIPPED, _ALTERNATIVE):
                stack.append(iter(part))
                break
        else:
            stack.pop()
            yield " " if element.tag == _CELL else ""


def _is_hidden(run: Any) -> bool:
    mark = run.find(_HIDDEN)
    return mark is not None and (mark.get(qn("w:val")) or "").lower() not in _NO
