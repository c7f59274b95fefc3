"""Secrets of tools are named in the configuration and kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings.tool_secrets import SecretFile, SecretSource

pytestmark = pytest.mark.row("G5", part="secrets of tools")


def test_values_come_from_the_environment_and_from_files_as_they_are_now(tmp_path: Path) -> None:
    environ = {"CRM": "one"}
    (tmp_path / "token").write_text("two\n")
    named = {"crm": SecretFile(source="env:CRM", tools=("look",)), "mail": SecretFile(source="file:token")}
    source = SecretSource(named, environ, tmp_path)

    before = [source.read("crm"), source.read("mail")]
    environ["CRM"] = "rotated"

    assert before == ["one", "two"]
    assert source.read("crm") == "rotated"
    assert source.names("look") == {"crm", "mail"}
    assert source.names("other") == {"mail"}


def test_everything_that_cannot_be_had_is_told_at_once_and_without_values(tmp_path: Path) -> None:
    named = {"crm": SecretFile(source="env:CRM"), "mail": SecretFile(source="file:missing")}

    with pytest.raises(Misconfigured) as told:
        SecretSource(named, {}, tmp_path).check()

    assert str(told.value).splitlines() == [
        "secrets.crm: there is nothing in env:CRM",
        "secrets.mail: missing cannot be read",
    ]


@pytest.mark.parametrize("value", ["hunter2", "env:", "env:A B", "vault:x"])
def test_a_value_itself_is_no_reference(value: str) -> None:
    with pytest.raises(ValidationError):
        SecretFile(source=value)
