"""Every command there is: what it says of itself, and the page made from that."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from quarterdeck.cli.main import app
from quarterdeck.cli.reference import commands, reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


@pytest.mark.row("D4", part="help")
def test_the_commands_people_were_promised_are_there() -> None:
    groups = {words[0] for words in commands()}

    assert groups >= {
        "serve",
        "worker",
        "chat",
        "ingest",
        "runs",
        "approvals",
        "simulate",
        "config",
        "doctor",
        "migrate",
        "eval",
    }


@pytest.mark.row("D4", part="help")
@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself_and_all_that_can_be_said_to_it(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert "Usage" in shown.stdout
    assert commands()[words].help
    unexplained = [one.name for one in commands()[words].params if one.name != "help" and not getattr(one, "help", None)]
    assert unexplained in ([], ["limit"])


@pytest.mark.row("D4", part="json")
def test_every_command_can_speak_to_machines() -> None:
    silent = {words for words, command in commands().items() if not any("--json" in one.opts for one in command.params)}

    assert silent <= {("audit", "export"), ("privacy", "export")}  # which write JSON lines and nothing else


@pytest.mark.row("D4", part="reference")
def test_the_page_says_what_the_commands_say() -> None:
    # Made anew by: python -m quarterdeck.cli.reference > docs/reference/cli.md
    assert PAGE.read_text(encoding="utf-8") == reference()
