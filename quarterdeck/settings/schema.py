"""The configuration files as a schema: every key with its type, default, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from quarterdeck.core.errors import QuarterdeckError, error_of
from quarterdeck.core.runs import AgentSpec, Limits
from quarterdeck.service.access import SCOPES, User
from quarterdeck.settings.audit import AuditSettings
from quarterdeck.settings.guards import GuardSettings
from quarterdeck.settings.identity import IdentitySettings
from quarterdeck.settings.knowledge import KnowledgeSettings
from quarterdeck.settings.limits import LimitSettings
from quarterdeck.settings.mail import MailSettings
from quarterdeck.settings.policy import PolicySettings
from quarterdeck.settings.sections import Id, Networks, Seconds, Section, Words
from quarterdeck.settings.tags import TagSettings
from quarterdeck.settings.tool_secrets import SecretFile
from quarterdeck.settings.webhooks import DeliverySettings, EventStreamFile, WebhookFile

__all__ = [
    "AgentFile",
    "BreakerSettings",
    "BudgetFile",
    "CacheSettings",
    "CassetteSettings",
    "LimitsFile",
    "LogSettings",
    "ModelSettings",
    "PriceFile",
    "Profiles",
    "Provider",
    "QuestionClass",
    "RouteFile",
    "RouterSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "UserFile",
    "UsersFile",
    "WorkerSettings",
    "environment_name",
]

ENVIRONMENTS: Mapping[str, str] = {"dev": "development", "stage": "staging", "prod": "production"}


def environment_name(value: object) -> object:
    return ENVIRONMENTS.get(value.lower(), value.lower()) if isinstance(value, str) else value


Environment = Annotated[Literal["development", "staging", "production"], BeforeValidator(environment_name)]


class ServerSettings(Section):
    """The HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on. Other than loopback, every caller needs a key.")
    port: int = Field(8080, ge=0, le=65_535, description="Port; 0 takes a free one and prints it.")
    hosts: Words = Field((), description="Host names it is called by, without port. Loopback names are always known.")
    origins: Words = Field((), description="Origins of browser pages that may call it, such as https://desk.example.")
    proxies: Networks = Field(
        (),
        description="Networks of the proxies in front of it, such as 10.0.0.0/24: who is calling is whom their "
        "X-Forwarded-For names. Nobody else's is believed.",
    )
    answer_timeout_s: Seconds = Field(
        60.0, description="Seconds POST /chat waits; then it answers with the run as it stands."
    )
    heartbeat_s: Seconds = Field(15.0, description="Seconds between comments on a silent event stream.")
    body_timeout_s: Seconds = Field(10.0, description="Seconds a request may take to send its head, and again its body.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Bytes of a request body.")
    max_upload_bytes: int = Field(45_000_000, ge=1024, description="Bytes of a document that is uploaded.")
    upload_timeout_s: Seconds = Field(120.0, description="Seconds an upload may take to arrive.")
    drain_s: float = Field(0.5, ge=0, le=10, description="Seconds between not-ready and closing the port at SIGTERM.")
    stop_s: float = Field(20.0, ge=1, le=23, description="Seconds running requests get to finish at SIGTERM.")
    grpc_port: int | None = Field(
        None, ge=0, le=65_535, description="Port for gRPC beside HTTP, customarily 50051; 0 for a free one, None for none."
    )


class Provider(Section):
    """Where a model provider is reached."""

    base_url: str | None = Field(None, description="Base URL of its API; None for the provider's own.")
    api_key: SecretStr | None = Field(None, description="Its key. Keep it in the environment, not in the file.")
    api_version: str = Field("", description="Azure only: version of its API, such as 2024-10-21; empty for the newest.")


class PriceFile(Section):
    """What a model costs, in US dollars per million tokens."""

    input_usd: float = Field(ge=0, description="Prompt tokens.")
    output_usd: float = Field(ge=0, description="Completion tokens.")
    cached_usd: float | None = Field(None, ge=0, description="Prompt tokens read from the provider's cache.")
    cache_write_usd: float | None = Field(None, ge=0, description="Prompt tokens put into the provider's cache.")


class BreakerSettings(Section):
    """When a provider that fails is left alone."""

    failure_share: float = Field(0.5, gt=0, le=1, description="Failures among the calls in the window that open it.")
    minimum_calls: int = Field(20, ge=1, description="Calls in the window before it can open.")
    window_s: Seconds = Field(10.0, description="Seconds looked back.")
    open_s: Seconds = Field(5.0, description="Seconds without a call, then one call is let through as a probe.")
    slow_s: Seconds = Field(
        10.0, description="Seconds without a word that count as a failure of the provider when the caller stops waiting."
    )


class RouteFile(Section):
    """Where requests go for which every condition holds that is given."""

    name: Id = Field(description="Stands in the run's record.")
    use: str = Field(description="Model, provider:name or the name of a role.")
    integrity: Literal["endorsed", "untrusted"] | None = Field(None, description="Some part is at least that bad.")
    readers: Words = Field((), description="Some part is restricted to one of these, such as group:hr.")
    risk: int | None = Field(None, ge=0, le=3, description="A tool of at least that risk is offered.")
    min_chars: int | None = Field(None, ge=0, description="Characters of the conversation, at least.")
    max_chars: int | None = Field(None, ge=0, description="Characters of the conversation, at most.")
    tenants: Words = Field((), description="Tenants.")
    agents: Words = Field((), description="Agents.")
    tags: dict[str, str] = Field(default_factory=dict, description="Traffic tags with these values.")


class QuestionClass(Section):
    """A class a small model may sort a question into."""

    meaning: str = Field(description="What belongs into it, in words for the model.")
    use: str = Field(description="Model, provider:name or the name of a role.")


class RouterSettings(Section):
    """Which model a request goes to."""

    rules: tuple[RouteFile, ...] = Field((), description="The first whose conditions hold decides.")
    classes: dict[Id, QuestionClass] = Field(
        default_factory=dict, description="By name; where no rule holds, models.router_model says which. Empty: nobody asks."
    )
    default_class: str = Field("", description="Class when the model names none, or not in time; empty for the first.")
    timeout_s: Seconds = Field(2.0, description="Seconds the model has for it.")


class CacheSettings(Section):
    """Answers that are given again to the same request of the same user."""

    enabled: bool = Field(False, description="Whether answers are kept.")
    with_tools: bool = Field(False, description="Also of requests with tools, whose answers depend on a world that changes.")
    max_entries: int = Field(1000, ge=1, le=1_000_000, description="Answers kept.")
    max_bytes: int = Field(67_108_864, ge=1024, description="Bytes of answers kept, about.")
    ttl_s: Seconds = Field(3600.0, description="Seconds one is kept.")


class CassetteSettings(Section):
    """Model calls written to a file, or played from it."""

    path: Path | None = Field(
        None, description="File of JSON lines, relative to the configuration folder; None for neither."
    )
    mode: Literal["record", "replay"] = Field("replay", description="record appends to it. replay answers from it alone.")
    in_order: bool = Field(False, description="A replay must ask in the order of the recording.")


class ModelSettings(Section):
    """Language models."""

    default: str = Field(
        "openai:gpt-5-mini", pattern=r"^[^\s]+$", description="Model of agents that name none: provider:name."
    )
    mode: Literal["auto", "local", "remote"] = Field(
        "auto", description="auto: simulated without a key in development. local: always simulated. remote: never."
    )
    providers: dict[str, Provider] = Field(default_factory=dict, description="By provider name, such as openai.")
    timeout_s: Seconds = Field(
        60.0, description="Seconds one request to a model may take; a run with less time left waits less."
    )
    idle_timeout_s: Seconds = Field(30.0, description="Seconds between two pieces of a streamed reply.")
    retries: int = Field(3, ge=0, le=10, description="How often a call that can recover is repeated.")
    retry_base_s: Seconds = Field(1.0, description="Seconds before the first repeat; it doubles from there.")
    structured: dict[str, Literal["native", "tool", "prompted"]] = Field(
        default_factory=dict,
        description="How models are made to satisfy a schema, by provider or provider:name: enforced by the provider "
        "(native), as arguments of a tool, or prompted. Unlisted ones: as the provider can.",
    )
    generation_model: str = Field("", description="Model under the name generation_model; empty for the default.")
    retrieval_model: str = Field("", description="Model under the name retrieval_model; empty for the default.")
    router_model: str = Field("", description="Model that sorts questions into classes; empty for the default.")
    fallbacks: dict[str, Words] = Field(
        default_factory=dict,
        description="Models asked in turn when one fails, by its name or `*`; `preset` stands for the preset answer.",
    )
    fallback_on: Words = Field(
        ("model_unavailable", "upstream_invalid"),
        description="Codes of errors that are a reason to, also with a status: model_refused:401.",
    )
    preset_answer: str = Field(
        "No answer can be given at the moment. Please try again later.", description="What `preset` answers."
    )
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    router: RouterSettings = Field(default_factory=RouterSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    cassette: CassetteSettings = Field(default_factory=CassetteSettings)
    prices: dict[str, PriceFile] = Field(
        default_factory=dict, description="By model, in front of the list that comes along."
    )

    @model_validator(mode="after")
    def _classes_are_known(self) -> Self:
        if self.router.default_class and self.router.default_class not in self.router.classes:
            raise ValueError(f"router.default_class: there is no class {self.router.default_class!r}")
        return self

    @field_validator("fallback_on")
    @classmethod
    def _codes_are_known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            name, _, status = code.partition(":")
            if type(error_of(name, "")) is QuarterdeckError or (status and not status.isdecimal()):
                raise ValueError(f"{code!r} is no code of an error")
        return codes


class BudgetFile(Section):
    """How much may be spent by one run, user, group, agent, model or tenant."""

    scope: Literal["run", "user", "group", "agent", "model", "tenant"] = Field(
        description="What it holds for, each by itself. Of a user's groups, those it names and those of `departments`."
    )
    period: Literal["day", "month"] = Field("day", description="Of the calendar in UTC. A run has one budget in all.")
    names: Words = Field((), description="Only these; empty for everybody.")
    max_usd: float | None = Field(None, gt=0, description="US dollars that are all of it.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens that are all of it.")
    warn_at: float | None = Field(0.8, gt=0, le=1, description="Share from which the record of a run says so.")
    downgrade_at: float | None = Field(None, ge=0, le=1, description="Share from which `downgrade_to` is asked instead.")
    downgrade_to: str = Field("", description="Model, provider:name or the name of a role.")
    stops: bool = Field(True, description="Whether calls are refused once all is spent.")

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if self.max_usd is None and self.max_tokens is None:
            raise ValueError("needs max_usd or max_tokens")
        if (self.downgrade_at is None) != (not self.downgrade_to):
            raise ValueError("downgrade_at and downgrade_to go together")
        return self


class StoreSettings(Section):
    """Where runs rest."""

    data: Path = Field(
        Path(".quarterdeck"), description="Folder of databases and keys, relative to the configuration folder."
    )
    database_url: SecretStr | None = Field(
        None,
        description="Where runs rest: sqlite:///FOLDER for one server, postgresql://USER@HOST/DATABASE for many; None for "
        "SQLite in `data`.",
    )
    max_connections: int = Field(10, ge=2, le=500, description="Connections of one process to Postgres.")
    redis_url: SecretStr | None = Field(
        None,
        description="redis://HOST:PORT/DATABASE; replicas share circuits there and pass on live pieces of replies. None: "
        "each has its own circuits, and of runs that other processes advance streams carry stored events only.",
    )
    state_url: SecretStr | None = Field(
        None,
        description="Where snapshots rest: file:///FOLDER, redis://..., s3://BUCKET/PREFIX?endpoint=..&region=..; None for "
        "the database.",
    )
    state_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Seals what rests at state_url; the same for all processes. None: made once, in `data`.",
    )
    keep_days: float | None = Field(
        None, gt=0, description="Days after which ended runs are deleted with all they hold, but not from the audit log."
    )
    keep_operations_days: float = Field(
        400.0,
        gt=0,
        description="Days a finished business operation is known, so that no run does it again. Only with keep_days.",
    )


class WorkerSettings(Section):
    """Who advances runs."""

    concurrency: int = Field(50, ge=1, le=10_000, description="Runs advanced at once.")
    in_server: bool = Field(
        True, description="Whether a server advances runs too; false needs `quarterdeck worker` processes, and Postgres."
    )
    heartbeat_s: Seconds = Field(2.0, description="Seconds between two signs of life of a worker. Postgres only.")
    stalled_s: Seconds = Field(
        10.0, description="Seconds without one after which its runs are given to others. Postgres only."
    )
    stop_s: float = Field(25.0, ge=0, le=25, description="Seconds a worker's running turns get at SIGTERM.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port where `quarterdeck worker` shows its metrics, 0 for a free one; None for none.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of that port. It asks for no key, and tells numbers only.")


class LogSettings(Section):
    """Logs: one JSON object per line on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.")
    personal: bool = Field(False, description="Whether mail addresses, telephone, card and account numbers stand in them.")


class LimitsFile(Section):
    """What one run may spend and when it counts as a loop. The defaults are those of the runtime."""

    max_turns: int = Field(20, ge=1, le=1000, description="Model calls.")
    max_total_time: Seconds = Field(300.0, description="Seconds of work; waiting for people does not count.")
    max_tokens: int | None = Field(None, ge=1, description="Prompt and completion tokens of all calls.")
    max_cost_usd: float | None = Field(None, gt=0, description="US dollars of all calls.")
    parallel_tool_calls: int = Field(16, ge=1, le=256, description="Tools that run at once.")
    max_calls_per_turn: int = Field(16, ge=1, le=256, description="Tool calls honoured of one reply.")
    loop_detection_window: int = Field(4, ge=2, le=100, description="Last calls looked at.")
    loop_detection_threshold: int = Field(3, ge=2, le=100, description="Equal calls among them that make a loop.")
    context_window: int = Field(120_000, ge=1000, description="Tokens of the model's window.")
    compact_at: float = Field(0.75, gt=0, le=1, description="Share of the window at which older messages are compacted.")
    repairs: int = Field(2, ge=0, le=10, description="How often a failing answer goes back to the model.")


class AgentFile(Section):
    """An agent: ``agents/NAME.yaml``."""

    name: Id = Field(description="Its name; the file is called after it.")
    model: str | None = Field(None, description="provider:name; None for models.default.")
    instructions: str = Field("", max_length=100_000, description="What the model is told first.")
    description: str = Field("", description="One line for people and for other agents.")
    tools: tuple[str, ...] = Field((), description="Names of tools it may call.")
    retrieve: Literal["tool", "always", "never"] = Field("tool", description="Who searches: the model, every run, nobody.")
    citations: Literal["lexical", "model"] = Field(
        "lexical", description="Who decides whether passages bear out what cites them: words in common, or a model."
    )
    citations_model: str = Field("", description="That model, provider:name or a role; empty for the agent's own.")
    extraction_model: str = Field(
        "", description="Takes values out of results, where policy.yaml says `extract`; empty for the agent's own."
    )
    limits: LimitsFile = Field(default_factory=LimitsFile, description="What one run may spend.")
    output_schema: dict[str, Any] | None = Field(None, description="JSON Schema of the answer; None for text.")
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int | None = Field(None, ge=1, description="Tokens of one reply.")
    options: dict[str, Any] = Field(default_factory=dict, description="Passed to the provider as they are.")
    answer_cache: bool = Field(
        False, description="Whether sure answers from searches alone are given again, to who may read all their sources."
    )

    def spec(self, model: str) -> AgentSpec:
        """The agent as the runtime knows it; `model` stands in where the file names none."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in ("limits", "model")}
        return AgentSpec(**values, model=self.model or model, limits=Limits(**self.limits.model_dump()))


class UserFile(Section):
    """A person or service."""

    id: Id = Field(description="Unique among all tenants of the file.")
    name: str = Field("", max_length=200, description="For people to read.")
    tenant: Id = Field("default", description="The tenant whose runs and documents it sees.")
    roles: tuple[Id, ...] = Field((), description="Roles, as policy and approvals name them.")
    groups: tuple[Id, ...] = Field((), description="Groups, as documents name them.")
    scopes: tuple[str, ...] = Field((), description=f"Rights: {', '.join(SCOPES)}, and those that tools demand.")
    key: str | None = Field(
        None,
        pattern=r"^(generated|sha256:[0-9a-f]{64})$",
        description="`generated`: made at first start. `sha256:..`: hash of a key made elsewhere. None: cannot log in.",
    )
    default: bool = Field(False, description="The caller without a key, on loopback in development. At most one.")


class UsersFile(Section):
    """People: ``users.yaml``."""

    roles: dict[Id, tuple[str, ...]] = Field(default_factory=dict, description="Scopes every holder of a role has.")
    users: tuple[UserFile, ...] = ()

    def people(self) -> tuple[User, ...]:
        """Each with the scopes of its roles added to its own."""
        return tuple(
            User(
                id=user.id,
                name=user.name,
                tenant=user.tenant,
                roles=user.roles,
                groups=user.groups,
                scopes=tuple(sorted({*user.scopes, *(scope for role in user.roles for scope in self.roles.get(role, ()))})),
                key=user.key,
                default=user.default,
            )
            for user in self.users
        )


class Settings(Section):
    """``quarterdeck.yaml`` and the environment: everything a server is told."""

    name: str = Field("quarterdeck", max_length=100, description="What the deployment is called.")
    env: Environment = Field("development", description="development, staging or production; dev and prod are understood.")
    region: str = Field("", description="Region the server runs in; chooses a profile.")
    flags: Words = Field((), description="Feature flags that are on; each may choose a profile.")
    default_agent: str = Field("", description="Agent of a question that names none; empty for the first by name.")
    server: ServerSettings = Field(default_factory=ServerSettings)
    models: ModelSettings = Field(default_factory=ModelSettings)
    budgets: tuple[BudgetFile, ...] = Field((), description="What may be spent on models.")
    limits: LimitSettings = Field(default_factory=LimitSettings)
    tags: TagSettings = Field(default_factory=TagSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    secrets: dict[Id, SecretFile] = Field(
        default_factory=dict, description="Values that tools need, by the name they ask for."
    )
    policy: PolicySettings = Field(default_factory=PolicySettings)
    guards: GuardSettings = Field(default_factory=GuardSettings)
    departments: Words = Field((), description="Groups whose spending is counted, such as departments.")
    store: StoreSettings = Field(default_factory=StoreSettings)
    knowledge: KnowledgeSettings = Field(default_factory=KnowledgeSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    webhooks: dict[Id, WebhookFile] = Field(
        default_factory=dict, description="Addresses that are told what happens, by a name."
    )
    event_streams: dict[Id, EventStreamFile] = Field(
        default_factory=dict, description="Streams that get an entry for what happens, by a name."
    )
    mail: MailSettings = Field(default_factory=MailSettings)
    deliveries: DeliverySettings = Field(default_factory=DeliverySettings)
    log: LogSettings = Field(default_factory=LogSettings)


class Profiles(Section):
    """Parts of `Settings` that hold in one environment, one region or under one flag: ``profiles:`` of its file."""

    environments: dict[Environment, dict[str, Any]] = Field(default_factory=dict)
    regions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    flags: dict[str, dict[str, Any]] = Field(default_factory=dict)
