from __future__ import annotations

import sys
import warnings
from typing import Any

import pytest

from quarterdeck.app.implementations import BREAKERS, INDEXES, PROVIDERS, STORES, resolve
from quarterdeck.app.models import ModelShelf, library_models
from quarterdeck.core.errors import DeadlineExceeded, Misconfigured
from quarterdeck.devtools.simulator.server import Simulator
from quarterdeck.settings import Settings
from tests.provider import Books, Provider, context, question


def _shelf(**settings: Any) -> ModelShelf:
    return ModelShelf(Settings.model_validate(settings))


@pytest.mark.parametrize("name", [*STORES.items(), *INDEXES.items(), *BREAKERS.items(), *PROVIDERS.items()], ids=str)
def test_every_implementation_that_is_named_exists(name: tuple[str, str]) -> None:
    assert callable(resolve(dict([name]), name[0], "implementation"))


def test_unknown_implementation_is_told_with_those_there_are() -> None:
    with pytest.raises(Misconfigured, match="there is no store 'oracle' in this version; there are: sqlite"):
        resolve(STORES, "oracle", "store")


def test_what_stands_in_front_of_a_mistaken_url_is_not_repeated() -> None:
    with pytest.raises(Misconfigured, match="there is no store in this version") as caught:
        resolve(STORES, "quarterdeck:hunter2", "store")

    assert "hunter2" not in str(caught.value)


def test_engine_whose_client_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("breaker_redis", "redis_link"):
        monkeypatch.delitem(sys.modules, f"quarterdeck.store.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)

    with pytest.raises(Misconfigured, match=r"install quarterdeck\[redis\]"):
        resolve(BREAKERS, "redis", "place for circuits")


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


@pytest.mark.row("R1", part="configuration")
@pytest.mark.parametrize(
    ("providers", "name"),
    [
        ({"openai": {"api_key": "sk-1"}}, "openai-responses:gpt-5"),
        ({"anthropic": {"api_key": "sk-1"}}, "anthropic:claude-haiku-4-5"),
        ({"azure": {"api_key": "k", "base_url": "https://a.openai.azure.com", "api_version": "2024-10-21"}}, "azure:gpt"),
        ({"mistral": {"api_key": "k"}}, "mistral:mistral-small-latest"),
        ({}, "ollama:llama3"),
        ({}, "vllm:qwen"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_known_providers_need_a_key_at_most(providers: Any, name: str) -> None:
    shelf = _shelf(models={"providers": providers, "retries": 0})

    model = shelf.get(name)

    assert (model.name, shelf.warnings) == (name, [])
    with pytest.raises(DeadlineExceeded):
        await model.complete(question(), context(within_s=-1.0))
    await shelf.close()


def test_azure_has_no_address_of_its_own() -> None:
    with pytest.raises(Misconfigured, match=r"set models.providers.azure.base_url"):
        _shelf(models={"providers": {"azure": {"api_key": "k"}}}).get("azure:gpt")


@pytest.mark.parametrize(
    ("name", "variable"),
    [("anthropic:m", "ANTHROPIC_API_KEY"), ("mistral:m", "QUARTERDECK_MODELS__PROVIDERS__MISTRAL__API_KEY")],
)
def test_the_missing_key_is_named_by_its_variable(name: str, variable: str) -> None:
    with pytest.raises(Misconfigured, match=f"set {variable}$"):
        _shelf(models={"mode": "remote"}).get(name)


@pytest.mark.row("R1", part="structured")
@pytest.mark.parametrize(
    ("structured", "tools"), [({}, 0), ({"own": "tool"}, 1), ({"own": "tool", "own:m": "prompted"}, 0)], ids=str
)
async def test_how_a_schema_is_satisfied_is_configured_by_provider_or_model(structured: Any, tools: int) -> None:
    async with Provider() as provider:
        shelf = _shelf(models={"providers": {"own": {"base_url": provider.base_url}}, "structured": structured})

        await shelf.get("own:m").complete(question(output_schema={"type": "object"}), context())
        await shelf.close()

    (asked,) = provider.requests
    assert len(asked.get("tools", ())) == tools
    assert ("response_format" in asked) is (not structured)


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai:text-embedding-3-small", "needs a key: set OPENAI_API_KEY"),
        ("anthropic:claude", "no endpoint for vectors"),
        ("acme:vectors", r"set models\.providers\.acme\.base_url"),
    ],
)
def test_nothing_stands_in_for_an_embedder_that_cannot_be_asked(name: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        _shelf().embedder(name, dim=8)


@pytest.mark.row("K3", part="configuration")
async def test_embedder_of_a_configured_provider_is_metered_like_its_models() -> None:
    async with Simulator() as simulator:
        books = Books()
        providers = {"acme": {"base_url": f"{simulator.url}/v1", "api_key": "sk-simulated-0123456789"}}
        shelf = ModelShelf(Settings.model_validate({"models": {"providers": providers}}), budget=books)

        embedder = shelf.embedder("acme:vectors", dim=64, shorten=True, languages=frozenset({"en"}))
        embedded = await embedder.embed(["one text", "another"], context())
        await shelf.close()

    assert [len(vector) for vector in embedded.vectors] == [64, 64]
    assert (embedder.id, embedder.languages) == ("acme:vectors/64", {"en"})
    assert [model for model, _ in books.spent] == ["acme:vectors"]
