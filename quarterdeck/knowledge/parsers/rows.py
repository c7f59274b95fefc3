"""CSV: every record a line that repeats the names of its columns, so that a passage makes sense by itself."""

from __future__ import annotations

import csv
import io

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.compose import Composition
from quarterdeck.knowledge.parsers.text import decode

__all__ = ["parse"]

MAX_COLUMNS = 1_000
MAX_ROWS = 200_000
MAX_CELL = 100_000  # characters

_SEPARATORS = "\t;|,"  # in this order where a first line holds as many of one as of another


def parse(data: bytes) -> Parsed:
    """Read a table. Its first row names the columns; cells are kept as they are, formulas too, and nothing computes them."""
    text = decode(data)
    separator = _separator(text.split("\n", 1)[0])
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    made = Composition()
    names: list[str] | None = None
    try:
        for row in reader:
            if len(row) > MAX_COLUMNS:
                raise TooLarge(f"line {reader.line_num}: {len(row)} columns, {MAX_COLUMNS} are read at most")
            if reader.line_num > MAX_ROWS:
                raise TooLarge(f"more than {MAX_ROWS} lines")
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [" ".join(cell.split()) for cell in row]
                continue
            made.lines(_record(names, row))
    except csv.Error as error:
        raise InvalidInput(f"line {reader.line_num}: {error}") from error
    parsed = made.finish()
    if names and not parsed.blocks:
        raise InvalidInput("a table of one line: it names columns and has no records")
    return parsed


def _separator(first: str) -> str:
    if len(first) > MAX_COLUMNS * 200:
        raise TooLarge(f"line 1 is {len(first)} characters long: more columns than are read")
    return max(_SEPARATORS, key=first.count)


def _record(names: list[str], row: list[str]) -> str:
    cells = []
    for number, cell in enumerate(row):
        value = " ".join(cell.split())
        name = names[number] if number < len(names) else ""
        if value:
            cells.append(f"{name}: {value}" if name else value)
    return "; ".join(cells)
