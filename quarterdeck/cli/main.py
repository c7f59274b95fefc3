"""All commands under one name, and the edge where errors become a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import typer

from quarterdeck.cli import access, approvals, audit, keys, policy, privacy, runs, webhooks
from quarterdeck.cli.chat import chat
from quarterdeck.cli.costs import costs
from quarterdeck.cli.doctor import doctor
from quarterdeck.cli.evaluate import evaluate
from quarterdeck.cli.folder import config, migrate, serve, worker
from quarterdeck.cli.ingest import ingest
from quarterdeck.cli.show import plain
from quarterdeck.cli.simulate import simulate
from quarterdeck.core.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    Misconfigured,
    NotFound,
    QuarterdeckError,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

__all__ = ["EXIT_CODES", "app", "exit_code", "main"]

# For scripts: what a person must do differs by these. An error of a narrower class has the code of the wider one.
EXIT_CODES: Mapping[type[QuarterdeckError], int] = {
    Misconfigured: 2,
    Unauthenticated: 3,
    Forbidden: 3,
    NotFound: 4,
    Conflict: 5,
    Unavailable: 6,
    DeadlineExceeded: 6,
    RateLimited: 6,
    InvalidInput: 7,
}

app = typer.Typer(
    help="Agents as backend services one can command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(worker)
app.command()(chat)
app.command()(ingest)
app.command()(costs)
app.command(name="eval")(evaluate)
app.add_typer(runs.app, name="runs")
app.add_typer(approvals.app, name="approvals")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(audit.app, name="audit")
app.add_typer(access.app, name="access")
app.add_typer(keys.app, name="keys")
app.add_typer(privacy.app, name="privacy")
app.add_typer(policy.app, name="policy")
app.command()(migrate)
app.command()(config)
app.command()(doctor)
app.command()(simulate)


def exit_code(kind: type[QuarterdeckError]) -> int:
    """What the program ends with after an error of this class."""
    return next((code for wider, code in EXIT_CODES.items() if issubclass(kind, wider)), 1)


def main() -> None:
    """The entry point of the program ``quarterdeck``."""
    try:
        app()
    except QuarterdeckError as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        sys.exit(exit_code(type(error)))
    except KeyboardInterrupt:
        sys.exit(130)
