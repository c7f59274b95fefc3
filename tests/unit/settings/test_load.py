from __future__ import annotations

import errno
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.runs import AgentSpec, Limits
from quarterdeck.settings import AgentFile, Settings, load
from quarterdeck.settings.reference import reference
from quarterdeck.settings.schema import LimitsFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "support.yaml").write_text("name: support\ninstructions: Be brief.\n")
    return tmp_path


def _problems(folder: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        load(folder, environ or {})
    return str(caught.value).splitlines()


def test_folder_with_one_agent_and_nothing_else_is_enough(folder: Path) -> None:
    configuration = load(folder, {})

    assert configuration.settings.server.port == 8080
    assert configuration.settings.env == "development"
    assert configuration.default_agent == "support"
    assert configuration.agents["support"].model == configuration.settings.models.default
    assert configuration.data == folder / ".quarterdeck"


def test_every_mistake_of_every_file_is_told_at_once_with_its_place(folder: Path) -> None:
    (folder / "quarterdeck.yaml").write_text("name: desk\nserver:\n  port: many\n  colour: red\n")
    (folder / "agents" / "support.yaml").write_text("name: support\nlimits:\n  max_turns: 0\n")
    (folder / "users.yaml").write_text("users:\n  - id: Emma\n")

    problems = _problems(folder, {"QUARTERDECK_WORKER__CONCURRENCY": "none", "QUARTERDECK_SHIP": "x"})

    places = sorted(problem.split(": ")[0].removeprefix(f"{folder}/") for problem in problems)
    assert places == [
        "QUARTERDECK_SHIP",
        "QUARTERDECK_WORKER__CONCURRENCY",
        "agents/support.yaml:3",
        "quarterdeck.yaml:3",
        "quarterdeck.yaml:4",
        "users.yaml:2",
    ]
    assert f"{folder}/quarterdeck.yaml:4: server.colour: unknown key" in problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "quarterdeck.yaml:2"),
        ("server: &a {}\nworker: *a\n", "quarterdeck.yaml:2"),
        ("- a\n", "quarterdeck.yaml:1: must be a mapping"),
        ("name: [a\n", "quarterdeck.yaml:2"),
        ("default_agent: nobody\n", "there is no agent 'nobody'; there are: support"),
        (
            "profiles:\n  environments:\n    production:\n      server: {prot: 1}\n",
            "quarterdeck.yaml:4: server.prot: unknown key",
        ),
    ],
)
def test_mistake_in_the_file_names_its_line(folder: Path, text: str, said: str) -> None:
    (folder / "quarterdeck.yaml").write_text(text)

    problems = _problems(folder)

    assert any(said in problem for problem in problems), problems


@pytest.mark.row("L10", part="profiles")
def test_environment_region_and_flags_choose_profiles(folder: Path) -> None:
    (folder / "quarterdeck.yaml").write_text(
        "models: {default: openai:base}\n"
        "profiles:\n"
        "  environments: {production: {models: {default: openai:big}, log: {level: warning}}}\n"
        "  regions: {eu: {models: {providers: {openai: {base_url: https://eu.example/v1}}}}}\n"
        "  flags: {slow: {models: {timeout_s: 90}}}\n"
    )

    plain = load(folder, {}).settings
    chosen = load(folder, {"ENV": "prod", "CLUSTER_REGION": "eu", "FEATURE_FLAG": "slow,other"}).settings

    assert (plain.models.default, plain.models.timeout_s, plain.models.providers) == ("openai:base", 60, {})
    assert (chosen.env, chosen.region, chosen.flags) == ("production", "eu", ("slow", "other"))
    assert (chosen.models.default, chosen.models.timeout_s, chosen.log.level) == ("openai:big", 90, "warning")
    assert chosen.models.providers["openai"].base_url == "https://eu.example/v1"


@pytest.mark.row("L10", part="variables")
def test_variables_win_over_the_file_and_ours_over_customary_ones(folder: Path) -> None:
    (folder / "quarterdeck.yaml").write_text("server: {port: 1000, hosts: [a.example]}\n")
    environ = {
        "PORT": "2000",
        "MODEL_NAME": "openai:other",
        "LLM_MODE": "local",
        "OPENAI_API_KEY": "sk-123",
        "DATABASE_URL": "sqlite:///db",
        "QUARTERDECK_SERVER__HOSTS": "b.example, c.example",
        "QUARTERDECK_MODELS__MODE": "auto",
        "QUARTERDECK_URL": "http://client.example",
        "ENV": "",
    }

    settings = load(folder, environ).settings
    flagged = load(folder, environ, {"server": {"port": 3000}}).settings

    assert (settings.server.port, settings.server.hosts) == (2000, ("b.example", "c.example"))
    assert (settings.models.default, settings.models.mode) == ("openai:other", "auto")
    assert flagged.server.port == 3000


def test_secrets_are_not_shown(folder: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-canary", "DATABASE_URL": "sqlite:///canary", "REDIS_URL": "redis://:canary@host"}

    settings = load(folder, environ).settings

    assert "canary" not in repr(settings)
    assert "canary" not in json.dumps(settings.model_dump(mode="json"))


def test_scopes_of_roles_are_added_to_a_users_own(folder: Path) -> None:
    (folder / "users.yaml").write_text(
        "roles: {employee: [chat], approver: [approvals]}\n"
        "users:\n  - {id: omar, roles: [employee, approver], scopes: [tickets.read]}\n"
    )

    (omar,) = load(folder, {}).users

    assert omar.principal.scopes == ("approvals", "chat", "tickets.read")


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ("users:\n  - {id: a}\n  - {id: a}\n", "user 'a' stands there twice"),
        ("users:\n  - {id: a, default: true}\n  - {id: b, default: true}\n", "more than one user is the default"),
        ("users:\n  - {id: a, key: hunter2}\n", "users.yaml:2: users.0.key"),
    ],
)
def test_contradicting_users_are_refused(folder: Path, users: str, said: str) -> None:
    (folder / "users.yaml").write_text(users)

    problems = _problems(folder)

    assert any(said in problem for problem in problems)
    assert not any("hunter2" in problem for problem in problems)


def test_agent_file_says_all_that_an_agent_is_and_has_the_same_defaults() -> None:
    spec = AgentFile(name="a", model="openai:m").spec("unused")

    assert spec == AgentSpec(name="a", model="openai:m")
    of_a_question = {"client_tools"}  # a question brings them along
    assert set(AgentFile.model_fields) == {field.name for field in fields(AgentSpec)} - of_a_question
    assert set(LimitsFile.model_fields) == {field.name for field in fields(Limits)}


def test_example_folder_is_right() -> None:
    configuration = load(Path(__file__).parents[3] / "examples" / "support_desk", {})

    assert configuration.default_agent == "support"
    assert [user.id for user in configuration.users if user.default] == ["emma"]


def test_reference_page_says_what_the_schema_says() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"

    assert page.read_text() == reference(), (
        "quarterdeck config examples/support_desk --reference > docs/reference/configuration.md"
    )


def test_reference_says_what_may_stand_where_only_few_values_may() -> None:
    told = {line.split("`")[1]: line for line in reference().splitlines() if line.startswith("| `")}

    assert "`tool`, `always`, `never`" in told["retrieve"]
    assert "`day`, `month`" in told["period"]
    assert "`debug`, `info`, `warning`, `error`" in told["log.level"]


@pytest.mark.parametrize("settings", [Settings, AgentFile])
def test_reference_tells_every_key_of_every_section_there_may_be(settings: type[BaseModel]) -> None:
    keys = [line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")]
    told = {name for key in keys for name in key.split(".")}

    assert sorted(name for section in sections(settings) for name in section.model_fields if name not in told) == []


def sections(kind: Any) -> set[type[BaseModel]]:
    """Those that a section may hold, also in lists and by name, and itself."""
    found = {kind} if isinstance(kind, type) and issubclass(kind, BaseModel) else set()
    inner = [field.annotation for field in kind.model_fields.values()] if found else get_args(kind)
    return found.union(*map(sections, inner))


@pytest.mark.parametrize("name", ["quarterdeck.yaml", "agents/support.yaml", "users.yaml", "policy.yaml"])
def test_file_that_is_no_text_or_no_yaml_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe")
    assert _problems(folder)[0].startswith(f"{folder / name}: is not UTF-8 text")

    (folder / name).write_text("a: [1\nb: }\n")
    assert _problems(folder)[0].startswith(f"{folder / name}:2")


@pytest.mark.parametrize("name", ["quarterdeck.yaml", "users.yaml", "policy.yaml", "agents/other.yaml"])
def test_folder_with_the_name_of_a_file_is_a_problem_and_not_taken_for_none(folder: Path, name: str) -> None:
    (folder / name).mkdir()

    assert _problems(folder) == [f"{folder / name}: is a folder: put a file with settings in its place, or remove it"]


@pytest.mark.parametrize("name", ["quarterdeck.yaml", "users.yaml", "policy.yaml"])
def test_link_that_leads_nowhere_is_a_problem(folder: Path, name: str) -> None:
    (folder / name).symlink_to(folder / "gone.yaml")

    assert _problems(folder)[0].startswith(f"{folder / name}: is no file, or a link that leads nowhere")


def test_file_that_cannot_be_read_is_named_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refused(path: Path, *args: str, **kwargs: str) -> str:  # as the system does, but to root
        if path == folder / "quarterdeck.yaml":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, *args, **kwargs)

    (folder / "quarterdeck.yaml").touch()
    monkeypatch.setattr(Path, "read_text", refused)

    assert _problems(folder) == [
        f"{folder / 'quarterdeck.yaml'}: cannot be read (Permission denied): let the user this program runs as read it"
    ]
