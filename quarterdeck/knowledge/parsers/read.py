"""Reads any file that can be read, each kind where it is safe to."""

from __future__ import annotations

import importlib
from types import TracebackType

from quarterdeck.knowledge.parsers.base import Parsed, Parser
from quarterdeck.knowledge.parsers.kinds import KINDS, Kind, kind_of
from quarterdeck.knowledge.parsers.process import LimitedProcess, Limits

__all__ = ["READER", "DocumentReader"]

READER = "documents/2"  # changes whenever a parser reads a file otherwise or refuses it, so that it is read again


class DocumentReader:
    """Plain text in this process, everything else in a limited one, which starts when it is first needed. Close it."""

    def __init__(self, limits: Limits | None = None, kinds: tuple[Kind, ...] = KINDS) -> None:
        self._process = LimitedProcess(limits)
        self._kinds = kinds
        self.max_bytes = max(kind.max_bytes for kind in kinds)

    def __enter__(self) -> DocumentReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.close()

    def read(self, name: str, data: bytes) -> Parsed:
        """The text of a file and its structure. Raises InvalidInput."""
        kind = kind_of(name, data, self._kinds)
        if kind.limited:
            return self._process.parse(kind.module, data)
        parse: Parser = importlib.import_module(kind.module).parse
        return parse(data)
