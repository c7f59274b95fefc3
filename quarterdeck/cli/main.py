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
from quarterdeck.cli.simulate import simulate
from quarterdeck.core.errors import QuarterdeckError

__all__ = ["EXIT_CODES", "app", "main"]

# For scripts: what a person must do differs by these.
EXIT_CODES: Mapping[str, int] = {
    "misconfigured": 2,
    "schema_mismatch": 2,
    "unauthenticated": 3,
    "forbidden": 3,
    "not_found": 4,
    "conflict": 5,
    "unavailable": 6,
    "model_unavailable": 6,
    "store_unavailable": 6,
    "deadline_exceeded": 6,
    "rate_limited": 6,
    "invalid_input": 7,
    "invalid_arguments": 7,
    "too_large": 7,
    "context_too_large": 7,
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


def main() -> None:
    """The entry point of the program ``quarterdeck``."""
    try:
        app()
    except QuarterdeckError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CODES.get(error.code, 1))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough
        sys.exit(0)
