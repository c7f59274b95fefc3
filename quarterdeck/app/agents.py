"""What agents run on, put together: their models, tools, policy and the loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from quarterdeck.agent.answer import unfenced
from quarterdeck.agent.base import Audience, Directory, ToolRates
from quarterdeck.agent.loop import Loop
from quarterdeck.app.folder import build_tools
from quarterdeck.app.guards import guards_of
from quarterdeck.app.knowledge import Knowledge
from quarterdeck.app.limits import in_lanes
from quarterdeck.app.models import ModelShelf
from quarterdeck.app.policy import PolicyFile
from quarterdeck.app.stores import Store
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.runs import AgentSpec
from quarterdeck.knowledge.remembered import RememberedAnswers
from quarterdeck.knowledge.rewrite import CarriedTerms, Rewriter
from quarterdeck.knowledge.rewrite_model import ModelRewriter
from quarterdeck.knowledge.tool import search_tool
from quarterdeck.policy.guards.base import Guard
from quarterdeck.service.specs import BlobSpecs
from quarterdeck.settings import Configuration
from quarterdeck.settings.secrets import secret_values
from quarterdeck.tools.registry import Registry
from quarterdeck.tools.secrets import with_secrets

__all__ = ["Agents", "assembled"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """The agents of a folder, able to run.

    Attributes:
        tools: All there are.
        models: Name of the model that really answers, by the name agents give.
    """

    loop: Loop
    specs: BlobSpecs
    tools: Registry
    models: Mapping[str, str]
    policy: PolicyFile


def assembled(
    configuration: Configuration,
    store: Store,
    models: ModelShelf,
    knowledge: Knowledge,
    *,
    directory: Directory,
    audience: Audience,
    rates: ToolRates,
    classifiers: Mapping[str, Guard],
) -> Agents:
    """The loop of a folder's agents over its store.

    Args:
        directory: Says what people may do now.
        audience: Whoever watches runs.
        rates: How often tools may be called.
        classifiers: By name, who is asked about texts.

    Raises:
        Misconfigured: An agent's model or tools cannot be had, or the policy is wrong; all that is wrong, with its file.
    """
    folder = configuration.folder
    # A missing key is a mistake now, not at the first question.
    named = dict(_of_each_agent(configuration, lambda agent: (agent.model, models.get(agent.model).name)))
    secrets, settings = configuration.secrets, configuration.settings
    secrets.check()
    own = (with_secrets(tool, secrets) for tool in build_tools(folder, configuration.data))
    tools = in_lanes(settings, (search_tool(knowledge.search, query=knowledge.query), *own))
    registry = Registry(tools)
    registry.check_undo()
    _of_each_agent(configuration, lambda agent: registry.only(agent.tools))
    specs = BlobSpecs(store.journal)
    policy = PolicyFile(folder / "policy.yaml", tools)
    loop = Loop(
        journal=store.journal,
        records=store.records,
        specs=specs,
        models=models,
        toolbox=registry,
        policy=policy.load(configuration.policy),
        directory=directory,
        audience=audience,
        rates=rates,
        retriever=knowledge.search,
        rewriter=_rewriter(configuration, models),
        remembered=RememberedAnswers(knowledge.index, knowledge.answers),
        read_output=_read_json,
        guards=guards_of(settings.guards, {*secret_values(settings), *secrets.values()}, configuration.agents, classifiers),
        search_timeout_s=configuration.settings.knowledge.search_timeout_s,
    )
    return Agents(loop=loop, specs=specs, tools=registry, models=named, policy=policy)


def _rewriter(configuration: Configuration, models: ModelShelf) -> Rewriter | None:
    match configuration.settings.knowledge.rewrite:
        case "terms":
            return CarriedTerms()
        case "model":
            return ModelRewriter(models.get("retrieval_model"))
    return None


def _of_each_agent(configuration: Configuration, look: Callable[[AgentSpec], _T]) -> list[_T]:
    """What `look` finds for each agent. Raises Misconfigured with a line for each agent of which it did."""
    found: list[_T] = []
    problems: list[str] = []
    for agent in configuration.agents.values():
        try:
            found.append(look(agent))
        except Misconfigured as error:
            problems.append(f"{configuration.folder / 'agents' / agent.name}.yaml: {error}")
    if problems:
        raise Misconfigured("\n".join(problems))
    return found


def _read_json(text: str) -> Any:
    """The value of a typed answer. Raises ValueError if the text is no JSON."""
    return json.loads(unfenced(text))
