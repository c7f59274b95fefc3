"""What people and machines are shown."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["AsJson", "as_json", "console", "heard_or_not", "indented", "plain", "table"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

_PIPE_WIDTH = 200
_ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_FURTHER = "\n      "  # deeper than lines of ours begin


def console() -> Console:
    """Standard output, with colours where they can be seen; a file or a pipe is wide enough for whole lines."""
    return _Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads this any more")  # as `print` does; else the program would end here


@contextlib.contextmanager
def heard_or_not() -> Iterator[None]:
    """What is printed inside goes nowhere once whoever reads standard output has gone, and nothing ends because of it."""
    try:
        yield
    except BrokenPipeError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # what is left in its buffer is written at the end


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def plain(text: object) -> str:
    """Text from outside for a terminal: what moves its cursor, turns its direction or hides is shown as U+FFFD."""
    return _ESCAPES.sub("\ufffd", str(text))


def indented(text: object) -> str:
    """`plain`, with all lines but the first set in: none of them looks like a line of the program's own."""
    return plain(text).replace("\n", _FURTHER)


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
    """Rows as a table with `columns` (key → heading), or a line that there are none."""
    if not rows:
        console().print(empty, style="dim")
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(columns.values()):
        shown.add_column(heading, overflow="fold", no_wrap=place == 0)  # first comes the id, which is there to be copied
    for row in rows:
        shown.add_row(*(Text(plain(row.get(key, ""))) for key in columns))
    console().print(shown)
