"""What a start refuses although the configuration can be read, asked of the same functions that a start asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from quarterdeck.app.audit import check_checkpoints
from quarterdeck.app.classifiers import opened_classifiers
from quarterdeck.app.folder import collection_path
from quarterdeck.app.guards import guards_of
from quarterdeck.app.identity import check_apart
from quarterdeck.app.limits import in_lanes
from quarterdeck.app.models import shelf
from quarterdeck.app.notices import check_notices
from quarterdeck.app.policy import described
from quarterdeck.settings import Configuration

__all__ = ["STARTING", "Look"]

Look = Callable[[Configuration], Awaitable[str]]
"""Says what is well, or nothing if nothing is configured that could be wrong; raises what a start would raise."""


async def _agents(configuration: Configuration) -> str:
    """Whether there is a model for each agent: its key is there, or the simulated one may stand in. None is asked."""
    async with shelf(configuration) as models:
        for agent in configuration.agents.values():
            models.get(agent.model)
    return "there is a model for each"


async def _secrets(configuration: Configuration) -> str:
    configuration.secrets.check()
    named = configuration.settings.secrets
    return f"{len(named)} of tools can be read" if named else ""


async def _guards(configuration: Configuration) -> str:
    guards = configuration.settings.guards
    async with shelf(configuration) as models, opened_classifiers(guards, models) as classifiers:
        guards_of(guards, (), configuration.agents, classifiers)
    return "each agent has its own" if guards.agents else ""


async def _lanes(configuration: Configuration) -> str:
    named = configuration.settings.limits.deterministic.tools
    if not named:
        return ""
    with described(configuration) as (tools, _):
        in_lanes(configuration.settings, tools)
    return f"{len(named)} that only compute have a lane of their own"


async def _collections(configuration: Configuration) -> str:
    collections = configuration.settings.knowledge.collections
    for collection in collections:
        collection_path(configuration, collection)
    return f"{len(collections)} folders are there" if collections else ""


async def _issuers(configuration: Configuration) -> str:
    check_apart(configuration, configuration.users)
    return "their users are told from those of users.yaml" if configuration.settings.identity.issuers else ""


async def _checkpoints(configuration: Configuration) -> str:
    check_checkpoints(configuration)
    return "checkpoints rest elsewhere" if configuration.settings.audit.checkpoints_url is not None else ""


async def _notices(configuration: Configuration) -> str:
    webhooks = check_notices(configuration.settings)
    return f"{len(webhooks)} configured webhooks have their secrets" if webhooks else ""


STARTING: Mapping[str, Look] = {
    "agents": _agents,
    "secrets": _secrets,
    "guards": _guards,
    "tools that only compute": _lanes,
    "documents": _collections,
    "issuers": _issuers,
    "audit log": _checkpoints,
    "webhooks": _notices,
}
