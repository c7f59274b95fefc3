"""The ``guards`` section: what texts are looked through for in four places, and what is done about what is found."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from quarterdeck.core.errors import Misconfigured
from quarterdeck.policy.guards.base import Ruling
from quarterdeck.policy.guards.patterns import compiled
from quarterdeck.settings.sections import Id, Seconds, Section, Words

__all__ = [
    "ArgumentGuard",
    "ClassifierGuard",
    "GuardSettings",
    "InputGuards",
    "OutputGuards",
    "PatternGuard",
    "RetrievalGuards",
    "ToolGuards",
]


def _named(value: object) -> object:
    return Ruling(value) if isinstance(value, str) and value in set(Ruling) else value


Ruled = Annotated[Ruling, BeforeValidator(_named)]
Signal = Annotated[Literal[Ruling.ALLOW, Ruling.FLAG, Ruling.ASK, Ruling.BLOCK], BeforeValidator(_named)]
Marked = Annotated[Literal[Ruling.ALLOW, Ruling.FLAG, Ruling.REDACT, Ruling.BLOCK], BeforeValidator(_named)]
OnCall = Annotated[Literal[Ruling.ALLOW, Ruling.FLAG, Ruling.ASK, Ruling.BLOCK], BeforeValidator(_named)]


class InputGuards(Section):
    """Questions."""

    special_tokens: Marked = Field(Ruling.REDACT, description="Control of model formats written as text.")
    injection: Signal = Field(Ruling.FLAG, description="Signs of instructions to a model.")
    abuse: Signal = Field(Ruling.FLAG, description="Threats and abuse, by a short list and `guards.abuse_phrases`.")


class RetrievalGuards(Section):
    """Passages."""

    special_tokens: Marked = Field(Ruling.REDACT, description="Control of model formats written as text.")
    injection: Literal["allow", "flag", "lower", "leave_out"] = Field(
        "flag", description="Signs of instructions to a model: the passage is put behind the others, or left out."
    )


class ToolGuards(Section):
    """What tools return."""

    special_tokens: Marked = Field(Ruling.REDACT, description="Control of model formats written as text.")
    injection: Signal = Field(Ruling.FLAG, description="Signs of instructions to a model.")


class OutputGuards(Section):
    """Answers, while they are made and when they are settled."""

    secrets: Ruled = Field(Ruling.REDACT, description="Credentials: those of the configuration, and what looks like one.")
    links: Ruled = Field(
        Ruling.REDACT, description="Links and images that are neither of `guards.allow_links` nor stand in trusted text."
    )
    card: Ruled = Field(Ruling.REDACT, description="Numbers of payment cards with the right check digit.")
    iban: Ruled = Field(Ruling.REDACT, description="Numbers of accounts with the right check digits.")
    chinese_id: Ruled = Field(Ruling.REDACT, description="Chinese identity numbers with the right check character.")
    phone: Ruled = Field(Ruling.ALLOW, description="Telephone numbers.")
    mail: Ruled = Field(Ruling.ALLOW, description="E-mail addresses.")


class PatternGuard(Section):
    """A pattern of the deployment's own."""

    id: Id = Field(description="What events and overrides call it.")
    layers: Annotated[tuple[Literal["input", "retrieval", "tool", "output"], ...], Field(min_length=1)] = Field(
        description="Where it is looked for."
    )
    pattern: str = Field(description="As RE2 reads it: neither backreferences nor lookarounds.")
    ruling: Ruled = Field(description="allow, flag, redact, ask or block.")

    @field_validator("pattern")
    @classmethod
    def _can_be_read(cls, pattern: str) -> str:
        return _readable(pattern)

    @model_validator(mode="after")
    def _keeps_spans(self) -> Self:
        if "retrieval" in self.layers and self.ruling is Ruling.REDACT:
            raise ValueError("ruling: citations name spans of passages, so nothing is redacted there; block leaves one out")
        return self


class ArgumentGuard(Section):
    """A rule of what tools are called with."""

    id: Id = Field(description="What events and decisions call it.")
    tools: Words = Field(("*",), description="Patterns of their names.")
    argument: str = Field("", description="The one that is looked at; empty for all.")
    pattern: str = Field(description="As RE2 reads it.")
    ruling: OnCall = Field(Ruling.ASK, description="flag, ask (a draft for a person) or block.")

    @field_validator("pattern")
    @classmethod
    def _can_be_read(cls, pattern: str) -> str:
        return _readable(pattern)


class ClassifierGuard(Section):
    """Somebody else who is asked what a text is: a service over HTTP, or a model."""

    id: Id = Field(description="What events and overrides call it.")
    kind: Literal["http", "model"] = Field(description='A service that is sent {"text": ..}, or a model that is asked.')
    layers: Annotated[tuple[Literal["input", "retrieval", "tool", "output"], ...], Field(min_length=1)] = Field(
        description="What it is asked about. An answer it is asked about is not shown before it is settled."
    )
    ruling: Ruled = Field(description="allow, flag, redact, ask or block.")
    url: SecretStr | None = Field(None, description="Of a service; any address, as an administrator chose it.")
    api_key: SecretStr | None = Field(None, description="Sent to the service as a bearer token.")
    threshold: float = Field(0.5, ge=0, le=1, description="A score of the service as high as this is a finding.")
    model: str = Field("default", description="Of kind model: which one is asked.")
    question: str = Field("", description="Of kind model: what it is asked; a yes is a finding.")
    timeout_s: Seconds = Field(2.0, description="Seconds it is waited for.")
    on_failure: Literal["found", "pass"] = Field(
        "found",
        description="What a text counts as that it gave no verdict on in time: found (fails closed), or pass (open).",
    )
    cache_s: Seconds = Field(300.0, description="Seconds its verdict on a text is remembered, in each process.")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.kind == "http" and (self.url is None or not self.url.get_secret_value().startswith(("http://", "https://"))):
            raise ValueError("url: a classifier of kind http needs its address, http:// or https://")
        if self.kind == "model" and not self.question:
            raise ValueError("question: a classifier of kind model needs one that can be answered by yes or no")
        if "retrieval" in self.layers and self.ruling is Ruling.REDACT:
            raise ValueError("ruling: citations name spans of passages, so nothing is redacted there; block leaves one out")
        return self


class GuardSettings(Section):
    """What texts are looked through for, and what is done about it: allow, flag, redact, ask, block."""

    input: InputGuards = Field(default_factory=InputGuards)
    retrieval: RetrievalGuards = Field(default_factory=RetrievalGuards)
    tool: ToolGuards = Field(default_factory=ToolGuards)
    output: OutputGuards = Field(default_factory=OutputGuards)
    allow_links: Words = Field(
        (), description="Hosts answers may link to, whatever the link says: corp.example, *.corp.example."
    )
    abuse_phrases: Words = Field((), description="Phrases beside the list that comes along.")
    patterns: tuple[PatternGuard, ...] = Field((), description="Patterns of the deployment.")
    classifiers: tuple[ClassifierGuard, ...] = Field((), description="Services and models that are asked about texts.")
    arguments: tuple[ArgumentGuard, ...] = Field((), description="Rules of what tools are called with.")
    window: int = Field(
        256, ge=0, le=4096, description="Characters of an answer held back while it is made, for `patterns` of the output."
    )
    agents: dict[Id, dict[Literal["input", "retrieval", "tool", "output"], dict[str, str]]] = Field(
        default_factory=dict, description="By agent, layer and guard: a severer ruling. A milder one is a mistake."
    )


def _readable(pattern: str) -> str:
    try:
        compiled(pattern)
    except Misconfigured as error:
        raise ValueError(str(error)) from error
    return pattern
