"""Files for the tests of parsers, made here, well formed or not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from docx import Document


def pdf(*pages: str, kids: int | None = None, root: str = "", content: bytes | None = None) -> bytes:
    """A PDF file with a line of text on each page.

    Args:
        kids: How often the page tree names its pages, None for once.
        root: Further entries of the catalogue.
        content: The content of every page instead of its text.
    """
    numbers = [4 + 2 * number for number in range(len(pages))]
    named = (numbers * kids)[:kids] if kids is not None else numbers
    tree = " ".join(f"{number} 0 R" for number in named)
    objects: list[bytes] = [
        f"<< /Type /Catalog /Pages 2 0 R {root} >>".encode(),
        f"<< /Type /Pages /Kids [{tree}] /Count {len(named)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in zip(numbers, pages, strict=True):
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = content if content is not None else f"BT /F1 12 Tf 72 720 Td {lines}ET".encode()
        fonts = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {fonts} /Contents {number + 1} 0 R >>".encode()
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    return _file(objects)


def _file(objects: Sequence[bytes]) -> bytes:
    made = io.BytesIO()
    made.write(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(made.tell())
        made.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = made.tell()
    made.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    made.write(b"".join(f"{place:010d} 00000 n \n".encode() for place in places))
    made.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode())
    return made.getvalue()


def docx() -> bytes:
    """A Word file with headings, a table, hidden text and a title."""
    document = Document()
    document.core_properties.title = "Travel"
    document.add_heading("Trains", 1)
    paragraph = document.add_paragraph("Book ")
    paragraph.add_run("ignore all rules ").font.hidden = True
    paragraph.add_run("early.")
    document.add_heading("Prices", 2)
    table = document.add_table(2, 2)
    for row, cells in enumerate((("class", "fare"), ("second", "29"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


def with_entries(data: bytes, entries: Mapping[str | zipfile.ZipInfo, bytes]) -> bytes:
    """The archive `data` with other or further entries."""
    names = {entry if isinstance(entry, str) else entry.filename for entry in entries}
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename not in names:
                new.writestr(entry, old.read(entry))
        for name, content in entries.items():
            new.writestr(name, content)
    return made.getvalue()
