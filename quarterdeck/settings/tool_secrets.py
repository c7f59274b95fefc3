"""The ``secrets`` section: values that tools need and nobody else may see, named here and kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings.sections import Section, Words

__all__ = ["SecretFile", "SecretSource"]

_MAX_BYTES = 65_536


class SecretFile(Section):
    """A secret: where its value is, and which tools may have it."""

    source: str = Field(
        pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$",
        description="env:VARIABLE, or file:PATH relative to the folder; read anew at each use.",
    )
    tools: Words = Field((), description="Tools that may have it; empty for all of the folder.")


class SecretSource:
    """Reads secrets where their references point.

    Args:
        folder: What paths are relative to.
    """

    def __init__(self, named: Mapping[str, SecretFile], environ: Mapping[str, str], folder: Path) -> None:
        self._named = named
        self._environ = environ
        self._folder = folder

    def names(self, tool: str) -> frozenset[str]:
        """Those a tool may have."""
        return frozenset(name for name, secret in self._named.items() if not secret.tools or tool in secret.tools)

    def read(self, name: str) -> str:
        """The value of a secret there is. Raises Misconfigured if it cannot be had now, and says where it should be."""
        kind, _, place = self._named[name].source.partition(":")
        if kind == "env":
            value = self._environ.get(place, "")
        else:
            try:
                with (self._folder / place).open(encoding="utf-8") as file:
                    value = file.read(_MAX_BYTES).strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"secrets.{name}: {place} cannot be read") from error
        if not value:
            raise Misconfigured(f"secrets.{name}: there is nothing in {self._named[name].source}")
        return value

    def check(self) -> None:
        """Raises Misconfigured with a line for each secret that cannot be had."""
        problems = []
        for name in self._named:
            try:
                self.read(name)
            except Misconfigured as error:
                problems.append(str(error))
        if problems:
            raise Misconfigured("\n".join(problems))

    def values(self) -> Iterator[str]:
        """All values that can be had now, for whoever must not write them down."""
        for name in self._named:
            try:
                yield self.read(name)
            except Misconfigured:
                continue
