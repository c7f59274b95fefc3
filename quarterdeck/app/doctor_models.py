"""Whether the models of a folder answer: each is asked one word, without stand-ins, repeats or recordings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from quarterdeck.app.chains import by_role
from quarterdeck.app.implementations import EMBEDDERS
from quarterdeck.app.models import ModelShelf
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.ids import new_id
from quarterdeck.core.labels import PUBLIC, Integrity, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.models.base import ModelRequest
from quarterdeck.settings import Configuration, Settings
from quarterdeck.settings.schema import CassetteSettings, RouterSettings

__all__ = ["Asked", "asked_models"]

_PATIENCE_S = 15.0
_SIMULATED = "simulated"
_WORD = "ping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model or embedder that was asked.

    Attributes:
        simulated: The simulated model answered in its place.
        problem: Why there was no answer, empty if there was one.
        advice: What to do about it.
    """

    name: str
    simulated: bool = False
    problem: str = ""
    advice: str = ""


async def asked_models(configuration: Configuration) -> AsyncIterator[Asked]:
    """Every model that agents and roles name, and the embedder, one after the other."""
    models = ModelShelf(_plain(configuration.settings), folder=configuration.folder)
    try:
        for name in _names(configuration):
            yield await _asked(models, name)
        embedder = configuration.settings.knowledge.embedder
        if embedder.model and embedder.model not in EMBEDDERS:
            assert embedder.dim is not None  # checked where the settings are read
            yield await _embedded(models, embedder.model, embedder.dim, shorten=embedder.shorten)
    finally:
        await models.close()


def _names(configuration: Configuration) -> list[str]:
    settings = configuration.settings.models
    roles = (settings.generation_model, settings.retrieval_model, settings.router_model)
    links = [link for stand_ins in settings.fallbacks.values() for link in stand_ins if link != "preset"]
    named = [*(agent.model for agent in configuration.agents.values()), *roles, *links]
    return list(dict.fromkeys(by_role(settings, name) for name in named if name))


def _plain(settings: Settings) -> Settings:
    """The settings without what would hide that a model does not answer."""
    plain = {"retries": 0, "fallbacks": {}, "router": RouterSettings(), "cassette": CassetteSettings()}
    return settings.model_copy(update={"models": settings.models.model_copy(update=plain)})


async def _asked(models: ModelShelf, name: str) -> Asked:
    known = len(models.warnings)
    try:
        model = models.get(name)
        if model.name == _SIMULATED:
            return Asked(name=name, simulated=True, advice=" ".join(models.warnings[known:]))
        label = Label(integrity=Integrity.TRUSTED, readers=PUBLIC)
        message = Message(role=Role.USER, parts=(Text(text=_WORD, label=label),))
        await model.complete(ModelRequest(messages=(message,), max_tokens=16), _context())
    except QuarterdeckError as error:
        return Asked(name=name, problem=str(error))
    return Asked(name=name)


async def _embedded(models: ModelShelf, name: str, dim: int, *, shorten: bool) -> Asked:
    try:
        await models.embedder(name, dim=dim, shorten=shorten).embed([_WORD], _context())
    except QuarterdeckError as error:
        return Asked(name=name, problem=str(error))
    return Asked(name=name)


def _context() -> Context:
    asker = Principal(user="doctor", tenant="doctor")
    return Context(principal=asker, run_id=new_id(), deadline=time.monotonic() + _PATIENCE_S)
