"""Configuration: the only reader of environment and files.

A folder holds ``quarterdeck.yaml``, ``agents/*.yaml``, ``policy.yaml`` and ``users.yaml``; the environment may override what
``quarterdeck.yaml`` says. Layers, later ones win: defaults, the file, its profiles (environment, region, flags), the
customary variables (``MODEL_NAME``, ``PORT``, ...), ``QUARTERDECK_*`` (``__`` between levels), what the command line says.
Every error of every file is reported at once, with file and line. The schemas are in docs/reference/configuration.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, SecretStr

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.runs import AgentSpec
from quarterdeck.service.access import User
from quarterdeck.settings.layers import Layer, checked, from_environment, merged
from quarterdeck.settings.schema import AgentFile, Profiles, Settings, UsersFile, environment_name
from quarterdeck.settings.sections import listed
from quarterdeck.settings.synonyms import SynonymsFile
from quarterdeck.settings.tool_secrets import SecretSource

if TYPE_CHECKING:
    from quarterdeck.store.strict_yaml import YamlDocument

__all__ = ["Configuration", "environment_only", "load", "load_people"]

PREFIX = "QUARTERDECK_"
CUSTOMARY: Mapping[str, tuple[str, ...]] = {
    "ENV": ("env",),
    "CLUSTER_REGION": ("region",),
    "FEATURE_FLAG": ("flags",),
    "PORT": ("server", "port"),
    "MODEL_NAME": ("models", "default"),
    "LLM_MODE": ("models", "mode"),
    "OPENAI_API_KEY": ("models", "providers", "openai", "api_key"),
    "OPENAI_BASE_URL": ("models", "providers", "openai", "base_url"),
    "ANTHROPIC_API_KEY": ("models", "providers", "anthropic", "api_key"),
    "ANTHROPIC_BASE_URL": ("models", "providers", "anthropic", "base_url"),
    "DATABASE_URL": ("store", "database_url"),
    "REDIS_URL": ("store", "redis_url"),
    "VECTOR_DB_URL": ("knowledge", "index_url"),
}
CLIENT_VARIABLES = frozenset({"QUARTERDECK_URL", "QUARTERDECK_KEY"})  # of the command line as a client, not of a server

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A folder, read and checked.

    Attributes:
        agents: By name, in order of name; models are filled in.
        policy: Text of ``policy.yaml``, empty when there is none; its own package reads it.
        environ: Where secrets of tools are looked up when they are used.
        synonyms: Groups of words that mean the same here, of the file that ``knowledge.synonyms`` names.
    """

    folder: Path
    settings: Settings
    agents: Mapping[str, AgentSpec]
    users: Sequence[User]
    policy: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    synonyms: Sequence[Sequence[str]] = ()

    @property
    def secrets(self) -> SecretSource:
        """Where tools get their secrets from."""
        return SecretSource(self.settings.secrets, self.environ, self.folder)

    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return (self.folder / self.settings.store.data.expanduser()).resolve()

    @property
    def tenants(self) -> frozenset[str]:
        """Those people can belong to, by ``users.yaml`` or by what an issuer says."""
        issuers = self.settings.identity.issuers.values()
        named = (tenant for issuer in issuers for tenant in (issuer.tenant, *issuer.tenants) if tenant is not None)
        return frozenset((*(user.tenant for user in self.users), *named))

    @property
    def default_agent(self) -> str:
        return self.settings.default_agent or next(iter(self.agents))


def load(folder: Path, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Configuration:
    """Read a configuration folder.

    Args:
        environ: The environment; a value that is empty counts as unset.
        flags: What the command line says, nested as `Settings` is.

    Raises:
        Misconfigured: With one line per mistake, each with file and line or the variable's name.
    """
    if not folder.is_dir():
        raise Misconfigured(f"{folder} is not a folder; a configuration folder holds quarterdeck.yaml and agents/")
    problems: list[str] = []
    layers = _layers(folder, environ, flags or {}, problems)
    settings = checked(Settings, layers, problems)
    agents = _agents(folder, problems)
    users = _people(folder, problems)
    if not agents and not problems:
        problems.append(f"{folder / 'agents'}: there is no agent; write agents/NAME.yaml")
    problems += _contradictions(folder, settings, agents)
    synonyms = _synonyms(folder, settings, problems)
    policy = folder / "policy.yaml"
    if _is_there(policy, problems):
        _read(policy, problems)  # its own package knows what it must say; that it can be read at all is told with the rest
    if problems or settings is None:
        raise Misconfigured("\n".join(dict.fromkeys(problems)))
    return Configuration(
        folder=folder.resolve(),
        environ=environ,
        settings=settings,
        agents={name: agents[name].spec(settings.models.default) for name in sorted(agents)},
        users=users,
        policy=policy.read_text(encoding="utf-8") if policy.is_file() else "",
        synonyms=synonyms,
    )


def load_people(folder: Path) -> Sequence[User]:
    """The people of a configuration folder alone. Raises Misconfigured as `load` does."""
    problems: list[str] = []
    users = _people(folder, problems)
    if problems:
        raise Misconfigured("\n".join(problems))
    return users


def environment_only(environ: Mapping[str, str]) -> Settings:
    """The settings of a program without a configuration folder: defaults and customary variables. Raises Misconfigured."""
    problems: list[str] = []
    settings = checked(Settings, [from_environment(CUSTOMARY, environ, problems)], problems)
    if problems or settings is None:
        raise Misconfigured("\n".join(problems))
    return settings


def _people(folder: Path, problems: list[str]) -> Sequence[User]:
    path = folder / "users.yaml"
    users = (_one_file(UsersFile, path, problems) or UsersFile()).people()
    ids = [user.id for user in users]
    problems += [
        f"{path}: user {twice!r} stands there twice" for twice in sorted({one for one in ids if ids.count(one) > 1})
    ]
    if sum(user.default for user in users) > 1:
        problems.append(f"{path}: more than one user is the default one")
    return users


def _contradictions(folder: Path, settings: Settings | None, agents: Mapping[str, AgentFile]) -> Iterator[str]:
    """What is wrong between values that are each right."""
    if settings and settings.default_agent and settings.default_agent not in agents:
        known = ", ".join(sorted(agents)) or "none"
        path = folder / "quarterdeck.yaml"
        yield f"{path}: default_agent: there is no agent {settings.default_agent!r}; there are: {known}"
    if settings and not settings.worker.in_server and not _shared(settings.store.database_url):
        yield f"{folder / 'quarterdeck.yaml'}: worker.in_server: somebody must advance runs, and SQLite is for one process"


def _shared(url: SecretStr | None) -> bool:
    """True for a database that several processes may work on."""
    return url is not None and not url.get_secret_value().startswith("sqlite:")


def _layers(folder: Path, environ: Mapping[str, str], flags: Mapping[str, Any], problems: list[str]) -> list[Layer]:
    ours = sorted(name for name in environ if name.startswith(PREFIX) and name not in CLIENT_VARIABLES)
    targets = {**CUSTOMARY, **{name: tuple(name.removeprefix(PREFIX).lower().split("__")) for name in ours}}
    variables = from_environment(targets, environ, problems)
    spoken = Layer(flags, lambda loc: "command line")
    path = folder / "quarterdeck.yaml"
    document = _read(path, problems) if _is_there(path, problems) else None
    if document is None:
        return [variables, spoken]
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        problems.append(f"{document.place(())}: must be a mapping of keys to values")
        return [variables, spoken]
    base = Layer({key: value for key, value in data.items() if key != "profiles"}, _place(document, path))
    raw = data.get("profiles", {})
    profiles = (
        checked(Profiles, [Layer({} if raw is None else raw, _place(document, path, "profiles"))], problems) or Profiles()
    )
    chosen = merged([base, variables, spoken])
    active: list[Layer] = []
    choices: tuple[tuple[str, Mapping[Any, dict[str, Any]], object], ...] = (
        ("environments", profiles.environments, [environment_name(chosen.get("env", "development"))]),
        ("regions", profiles.regions, [chosen.get("region", "")]),
        ("flags", profiles.flags, listed(chosen.get("flags", ()))),
    )
    for kind, table, names in choices:
        for name, part in table.items():
            layer = Layer(part, _place(document, path, "profiles", kind, name))
            if isinstance(names, list | tuple) and name in names:
                active.append(layer)
            else:  # checked now, since a mistake in it would otherwise wait for the day it is needed
                checked(Settings, [base, layer], problems)
    return [base, *active, variables, spoken]


def _agents(folder: Path, problems: list[str]) -> dict[str, AgentFile]:
    found: dict[str, AgentFile] = {}
    for path in sorted((folder / "agents").glob("*.yaml")):
        agent = _one_file(AgentFile, path, problems, {"name": path.stem})
        if agent is not None and agent.name != path.stem:
            problems.append(f"{path}: name: {agent.name!r} is not the file's name")
        if agent is not None:
            found[agent.name] = agent
    return found


def _synonyms(folder: Path, settings: Settings | None, problems: list[str]) -> Sequence[Sequence[str]]:
    if settings is None or settings.knowledge.synonyms is None:
        return ()
    path = folder / settings.knowledge.synonyms
    if not path.exists():
        problems.append(f"{folder / 'quarterdeck.yaml'}: knowledge.synonyms: there is no file {path}")
        return ()
    found = _one_file(SynonymsFile, path, problems)
    return () if found is None else found.groups


def _one_file(
    kind: type[_Model], path: Path, problems: list[str], defaults: Mapping[str, Any] | None = None
) -> _Model | None:
    if not _is_there(path, problems):
        return None
    document = _read(path, problems)
    if document is None:
        return None
    where = _place(document, path)
    return checked(
        kind, [Layer(defaults or {}, where), Layer({} if document.data is None else document.data, where)], problems
    )


def _is_there(path: Path, problems: list[str]) -> bool:
    """True for a file. What has its name and is none would pass for a file that was left out, and is a problem."""
    try:
        if path.is_file():
            return True
        if path.exists() or path.is_symlink():
            what = "a folder" if path.is_dir() else "no file, or a link that leads nowhere"
            problems.append(f"{path}: is {what}: put a file with settings in its place, or remove it")
    except OSError as error:
        problems.append(_unreadable(path, error))
    return False


def _read(path: Path, problems: list[str]) -> YamlDocument | None:
    from quarterdeck.store.strict_yaml import read_yaml  # a library user configures without files, and without PyYAML

    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8")
    except OSError as error:
        problems.append(_unreadable(path, error))
    except Misconfigured as error:
        problems.append(str(error))
    return None


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror}): let the user this program runs as read it"


def _place(document: YamlDocument, path: Path, *prefix: str) -> Callable[[Sequence[str | int]], str]:
    return lambda loc: f"{path}:{document.line((*prefix, *loc))}"
