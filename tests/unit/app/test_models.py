from __future__ import annotations

import warnings
from typing import Any

import pytest

from quarterdeck.app.implementations import INDEXES, PROVIDERS, STORES, resolve
from quarterdeck.app.models import ModelShelf, library_models
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import Settings


def _shelf(**settings: Any) -> ModelShelf:
    return ModelShelf(Settings.model_validate(settings))


@pytest.mark.parametrize("name", [*STORES.items(), *INDEXES.items(), *PROVIDERS.items()], ids=str)
def test_every_implementation_that_is_named_exists(name: tuple[str, str]) -> None:
    assert callable(resolve(dict([name]), name[0], "implementation"))


def test_unknown_implementation_is_told_with_those_there_are() -> None:
    with pytest.raises(Misconfigured, match="there is no store 'oracle' in this version; there are: sqlite"):
        resolve(STORES, "oracle", "store")


def test_model_without_a_key_is_simulated_in_development_with_a_warning() -> None:
    shelf = _shelf()

    assert shelf.get("openai:gpt-5").name == "simulated"
    assert shelf.warnings == ["OPENAI_API_KEY is not set: the simulated model answers in place of openai:gpt-5"]


@pytest.mark.parametrize("settings", [{"env": "production"}, {"models": {"mode": "remote"}}], ids=str)
@pytest.mark.parametrize(("name", "said"), [("openai:gpt-5", "set OPENAI_API_KEY"), ("simulated", "is refused")])
def test_model_without_a_key_is_an_error_where_a_real_one_is_wanted(settings: Any, name: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        _shelf(**settings).get(name)


@pytest.mark.row("R1", part="configuration")
@pytest.mark.parametrize(
    ("providers", "name"),
    [
        ({"openai": {"api_key": "sk-1"}}, "openai:gpt-5"),
        ({"openai": {"base_url": "http://127.0.0.1:11434/v1"}}, "openai:llama"),
        ({"ollama": {"base_url": "http://127.0.0.1:11434/v1"}}, "ollama:llama"),
    ],
    ids=["key", "own address", "provider of one's own"],
)
def test_configured_provider_gives_a_real_model_without_a_warning(providers: Any, name: str) -> None:
    shelf = _shelf(models={"providers": providers})

    assert shelf.get(name).name == name
    assert shelf.get(name) is shelf.get(name)
    assert shelf.warnings == []


def test_local_mode_is_simulated_even_with_a_key() -> None:
    shelf = _shelf(models={"mode": "local", "providers": {"openai": {"api_key": "sk-1"}}})

    assert shelf.get("openai:gpt-5").name == "simulated"


@pytest.mark.parametrize("name", ["gpt-5", "unknown:model", "openai:"])
def test_name_no_model_stands_behind_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured):
        _shelf().get(name)


def test_library_reads_the_customary_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENV", raising=False)
    monkeypatch.delenv("LLM_MODE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with warnings.catch_warnings():
        _, warning = library_models("openai:gpt-5")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    shelf, silence = library_models("openai:gpt-5")

    assert warning is not None
    assert silence is None
    assert shelf.get("openai:gpt-5").name == "openai:gpt-5"
