"""The reference page of the configuration, made from the schema, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from quarterdeck.service.access import SCOPES
from quarterdeck.settings.guards import ArgumentGuard, ClassifierGuard, PatternGuard
from quarterdeck.settings.identity import IssuerFile
from quarterdeck.settings.knowledge import Collection
from quarterdeck.settings.limits import LimitRuleFile
from quarterdeck.settings.load import CUSTOMARY, PREFIX
from quarterdeck.settings.mail import MailboxFile
from quarterdeck.settings.schema import (
    AgentFile,
    BudgetFile,
    LimitsFile,
    PriceFile,
    Provider,
    QuestionClass,
    RouteFile,
    Settings,
    UserFile,
)
from quarterdeck.settings.tags import TagFile
from quarterdeck.settings.tool_secrets import SecretFile
from quarterdeck.settings.webhooks import EventStreamFile, WebhookFile

__all__ = ["reference"]

_HEAD = """# Configuration

A folder holds `quarterdeck.yaml`, `agents/NAME.yaml`, `users.yaml`, `policy.yaml` and `tools.py`. Only an agent is needed;
every key below has a default that works on a fresh machine. An unknown key, a wrong type or a value out of range is an error
at start; all errors are reported at once, with file and line. YAML is read strictly: no aliases, no tags, no key twice, at
most 1 MiB.

This page is made from the schema: `quarterdeck config FOLDER --reference` prints it, and a test compares.

## Which value holds

Later ones win: defaults; `quarterdeck.yaml`; its profiles; the customary variables; `QUARTERDECK_*`; options of the command
line.
`quarterdeck config FOLDER` shows what is in force, with secrets masked.

Profiles are parts of `quarterdeck.yaml` that hold in one environment, one region, or under one flag:

```yaml
profiles:
  environments: {production: {models: {mode: remote}}}
  regions: {eu: {models: {providers: {openai: {base_url: https://eu.example/v1}}}}}
  flags: {patient: {models: {timeout_s: 120}}}
```
"""

_MODELS = """
### Models that stand in for each other

What a call passes, outside in: recording, budget, router, cache, fallbacks, breaker, retries, prices. Each decision stands
in the run's record, in the reply's `route`.

```yaml
models:
  default: openai:gpt-5
  router_model: openai:gpt-5-nano
  fallbacks: {"*": [anthropic:claude-sonnet-4-5, preset]}
  fallback_on: [model_unavailable, upstream_invalid, context_too_large, "model_refused:401"]
  router:
    rules:
      - {name: risky, risk: 2, use: openai:gpt-5}
      - {name: personnel, readers: ["group:hr"], use: ollama:qwen3}
    classes:
      routine: {meaning: greetings and questions with a short answer, use: openai:gpt-5-nano}
      hard: {meaning: everything else, use: openai:gpt-5}
    default_class: hard
budgets:
  - {scope: tenant, period: month, max_usd: 500}
  - {scope: user, max_usd: 5, downgrade_at: 0.8, downgrade_to: openai:gpt-5-nano}
  - {scope: run, max_tokens: 200000}
```

A budget is exact to one call: calls side by side hold back what they may cost, and one that may not fit beside those in
flight waits for them. With a limit in money, a model whose price is unknown is refused; `models.prices` can give it one.
"""

_USERS = """
## users.yaml

`roles` gives every holder of a role its scopes; `users` lists people and services. The server's own scopes:
"""

_REST = """
## policy.yaml

What tools may do; see [how to write a policy](../howto/policy.md). Without it the declarations of the tools hold.

## tools.py

`build_tools(data: Path)` is called once at start with the data folder and returns the tools: functions with `@tool`, or
bare ones, which count as writes of risk 2 with an untrusted result until `policy.yaml` says what they are. The folder is on
the import path meanwhile. It is an administrator's code and runs with the server's rights.
"""


def reference() -> str:
    """The page as Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "## quarterdeck.yaml\n"
    yield from _table(_fields(Settings))
    yield "\nEach of `knowledge.collections`:\n"
    yield from _table(_fields(Collection))
    yield "\nEach of `models.providers`, by name:\n"
    yield from _table(_fields(Provider))
    yield "\nEach of `models.prices`, by model, in US dollars per million tokens:\n"
    yield from _table(_fields(PriceFile))
    yield "\nEach of `models.router.rules`; a condition that is not given always holds:\n"
    yield from _table(_fields(RouteFile))
    yield "\nEach of `models.router.classes`, by name:\n"
    yield from _table(_fields(QuestionClass))
    yield "\nEach of `budgets`:\n"
    yield from _table(_fields(BudgetFile))
    yield "\nEach of `tags.allowed`, by name; [how to mark requests](../howto/tags.md) has examples:\n"
    yield from _table(_fields(TagFile))
    yield "\nEach of `limits.rules`; [how to limit](../howto/limits.md) has examples:\n"
    yield from _table(_fields(LimitRuleFile))
    yield "\nEach of `secrets`, by name; [how to give tools their secrets](../howto/secrets.md) has examples:\n"
    yield from _table(_fields(SecretFile))
    yield "\nEach of `guards.patterns`; [how to guard](../howto/guardrails.md) has examples:\n"
    yield from _table(_fields(PatternGuard))
    yield "\nEach of `guards.arguments`:\n"
    yield from _table(_fields(ArgumentGuard))
    yield "\nEach of `guards.classifiers`:\n"
    yield from _table(_fields(ClassifierGuard))
    yield "\nEach of `identity.issuers`, by name; [how to let people in](../howto/identity.md) has examples:\n"
    yield from _table(_fields(IssuerFile))
    yield "\nEach of `webhooks`; [how to use webhooks](../howto/webhooks.md) has examples:\n"
    yield from _table(_fields(WebhookFile))
    yield "\nEach of `event_streams`:\n"
    yield from _table(_fields(EventStreamFile))
    yield "\nEach of `mail.mailboxes`; [approvals](../workflow.md) says what is sent:\n"
    yield from _table(_fields(MailboxFile))
    yield _MODELS
    yield "\n## agents/NAME.yaml\n"
    yield from _table(_fields(AgentFile))
    yield "\n`limits`:\n"
    yield from _table(_fields(LimitsFile))
    yield _USERS
    yield from (f"- `{scope}`: {meaning}" for scope, meaning in SCOPES.items())
    yield "\nEach of `users`:\n"
    yield from _table(_fields(UserFile))
    yield "\n## Environment\n"
    yield f"Every key of `quarterdeck.yaml` has a variable: `{PREFIX}SERVER__PORT` is `server.port`. A list: `a,b`.\n"
    yield "| variable | key |\n|---|---|"
    yield from (f"| `{name}` | `{'.'.join(target)}` |" for name, target in CUSTOMARY.items())
    yield _REST.rstrip() + "\n"


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning), sections opened up."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not LimitsFile:
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _shown(field), _meaning(field)


def _meaning(field: Any) -> str:
    """What is said of it, and what it may be where that names not all of it."""
    said, values = str(field.description), list(dict.fromkeys(_values(field.annotation)))
    if all(re.search(rf"\b{value}\b", said) for value in values):
        return said
    return f"{said} Values: {', '.join(f'`{value}`' for value in values)}."


def _values(annotation: Any) -> Iterator[str]:
    """The few values that something of a type may have, or may be made of."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(one.value) for one in annotation)
    else:
        inside = get_args(annotation)
        for inner in inside[1:] if get_origin(annotation) is dict else inside:
            yield from _values(inner)


def _shown(field: Any) -> str:
    if field.default_factory is not None:
        return "empty"
    if field.default is PydanticUndefined:
        return "required"
    return "empty" if field.default in ("", ()) else f"`{field.default}`"


def _table(rows: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    yield "| key | default | meaning |\n|---|---|---|"
    yield from (f"| `{key}` | {default} | {meaning} |" for key, default, meaning in rows)
