"""What a parser makes of a file: plain text, and the structure the splitter follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Block", "Parsed", "Parser"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A paragraph, list, table or piece of code, by its span in the text.

    Attributes:
        lines: True where only line ends may cut it (tables, code), False where sentences may.
    """

    start: int
    end: int
    heading_path: tuple[str, ...] = ()
    lines: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A file, read.

    Attributes:
        title: What the file calls itself, empty if nothing.
        text: The whole text; blocks count its characters.
        front: What the file says about itself before its text: strings, or tuples of strings.
        warnings: What a person should know of it, such as hidden text that was left out.
    """

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    front: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Parser(Protocol):
    """Reads one kind of file. Pure: it opens nothing, and runs in a worker thread or in a limited process."""

    def __call__(self, data: bytes) -> Parsed:
        """Raises InvalidInput for bytes that are not of its kind; the message names the line where there is one."""
        ...
