"""The reference page of all commands, made from the commands themselves: ``python -m quarterdeck.cli.reference``."""

from __future__ import annotations

from collections.abc import Iterator

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from quarterdeck.cli.ingest import REFUSED
from quarterdeck.cli.main import app, exit_code
from quarterdeck.core import errors

__all__ = ["commands", "reference"]

_HEAD = """# Command line

This page is made from the program: `python -m quarterdeck.cli.reference > docs/reference/cli.md`.

Every command explains itself with `--help`, and with `--json` prints JSON for machines on standard output. Those that talk
to a server find it by `--url` or `QUARTERDECK_URL`, and show it the key of `--key` or `QUARTERDECK_KEY`. An error is a line
on standard error, and an exit code:

| code | when |
|---|---|
| 0 | it worked |"""
_FOUND = "`doctor`, `eval`, `policy lint --strict`, `audit verify` or `webhooks test` found something; anything else failed"
_REFUSED = "`ingest`: some documents were refused, and all others are in"
_FOOT = "| 130 | interrupted by the keyboard |"


def reference() -> str:
    """The page as Markdown."""
    return "\n".join(_lines()) + "\n"


def commands() -> dict[tuple[str, ...], TyperCommand]:
    """Every command there is, by the words that call it; groups are not among them."""
    return dict(_below((), get_command(app)))


def _below(words: tuple[str, ...], command: object) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperCommand):
        yield words, command
    elif isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _below((*words, name), inner)


def _lines() -> Iterator[str]:
    yield _HEAD
    codes: dict[int, list[str]] = {1: [_FOUND], REFUSED: [_REFUSED]}
    for kind in (getattr(errors, name) for name in errors.__all__ if name != "error_of"):
        if kind is not errors.QuarterdeckError:
            codes.setdefault(exit_code(kind), []).append(f"`{kind.code}`")
    for code, names in sorted(codes.items()):
        yield f"| {code} | {', '.join(names)} |"
    yield _FOOT
    for words, command in commands().items():
        yield from _command(words, command)


def _command(words: tuple[str, ...], command: TyperCommand) -> Iterator[str]:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    called = " ".join(("quarterdeck", *words, *(_argument(one) for one in arguments)))
    yield f"\n## `{called}`\n"
    yield " ".join((command.help or "").split())
    rows = [(f"`{_argument(one)}`", "", getattr(one, "help", None)) for one in arguments]
    rows += [(_names(one), _default(one), one.help) for one in options if one.name != "help"]
    if rows:
        yield "\n| argument or option | default | meaning |\n|---|---|---|"
        for name, default, meaning in rows:
            yield f"| {name} | {default} | {_cell(meaning or '')} |"


def _argument(argument: TyperArgument) -> str:
    name = (argument.metavar or argument.name or "").upper().strip("[]")
    return name if argument.required else f"[{name}]"


def _names(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    variable = f" (`{option.envvar}`)" if isinstance(option.envvar, str) else ""
    several = ", several times" if option.multiple else ""
    return f"{names}{variable}{several}"


def _default(option: TyperOption) -> str:
    if option.secondary_opts:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    if option.is_flag or option.default in (None, "", ()) or callable(option.default):
        return ""
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
