"""Tools that use secrets: each gets the value of those it may have while it runs, and nothing that comes out holds one.

What a tool returns, reports or fails with is read by models, kept in journals and shown to people. A library that puts the
address it called into its error puts the key in the address there, too; so every text is looked through on its way out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import Forbidden, QuarterdeckError
from quarterdeck.core.masking import Mask
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools.encode import Unserialisable, encode

__all__ = ["Secrets", "with_secrets"]

_BEYOND_THE_CUT = 4_000  # characters looked through behind the limit, so that no secret is cut before it is known


class Secrets(Protocol):
    """Values by name, and who may have which."""

    def names(self, tool: str) -> Collection[str]: ...

    def read(self, name: str) -> str:
        """The value now. Raises Misconfigured."""
        ...


class ToolFailed(QuarterdeckError):
    """A tool failed with a secret in its message; this is the message without."""


def with_secrets(tool: Tool, secrets: Secrets) -> Tool:
    """`tool` with `ToolContext.secret` for those it may have, as they are at each call; itself if it may have none."""
    allowed = frozenset(secrets.names(tool.name))
    if not allowed:
        return tool

    async def run(args: dict[str, Any], ctx: ToolContext) -> Any:
        told: list[str] = []

        def secret(name: str) -> str:
            if name not in allowed:
                raise Forbidden(f"{tool.name} may not have a secret {name!r}; secrets.{name}.tools would have to name it")
            value = secrets.read(name)
            told.append(value)
            return value

        async def emit(text: str) -> None:
            await ctx.emit(_mask(told).text(text))

        try:
            value = await tool.run(args, replace(ctx, secret=secret, emit=emit))
        except Exception as error:
            masked = _without(_mask(told), error)
            if masked is None:
                raise
            raise ToolFailed(masked) from None  # with the cause a traceback would tell it after all
        return _shown(value, _mask(told), tool.max_output_chars) if told else value

    return replace(tool, run=run)


def _mask(secrets: Sequence[str]) -> Mask:
    """Knows them also as they stand in addresses."""
    return Mask(form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret)))


def _without(mask: Mask, error: Exception) -> str | None:
    """What an error says, without secrets; None if it says none."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the executor says that of errors that cannot even be shown
        return None
    masked = mask.text(text)
    return None if masked == text else f"{type(error).__name__}: {masked}"


def _shown(value: Any, mask: Mask, limit: int) -> Any:
    """A result as the executor would show it, without secrets."""
    if isinstance(value, tuple | list) and value and all(isinstance(item, Passage) for item in value):
        return tuple(replace(item, text=mask.text(item.text), title=mask.text(item.title)) for item in value)
    try:
        text, _ = encode(value, limit + _BEYOND_THE_CUT)
    except Unserialisable:
        return value  # the executor finds the same, and tells it without the value
    return mask.text(text)
