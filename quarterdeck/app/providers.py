"""Model providers known by name: how each is spoken to, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quarterdeck.models.structured import Mode

__all__ = ["KNOWN", "Known", "known"]


@dataclass(frozen=True, slots=True)
class Known:
    """A provider.

    Attributes:
        dialect: Its name in `implementations.PROVIDERS`.
        base_url: None if every customer has an own one, which must be configured.
        settings: The provider whose configured key and address it shares; empty for its own.
        needs_key: False for servers one runs oneself.
        structured: How its models are made to satisfy a schema, unless configured otherwise.
    """

    dialect: str
    base_url: str | None = None
    settings: str = ""
    needs_key: bool = True
    structured: Mode = "native"


KNOWN: Mapping[str, Known] = {
    "openai": Known("openai", "https://api.openai.com/v1"),
    "openai-responses": Known("openai-responses", "https://api.openai.com/v1", settings="openai"),
    "anthropic": Known("anthropic", "https://api.anthropic.com"),
    "azure": Known("azure"),
    "mistral": Known("openai", "https://api.mistral.ai/v1"),
    "together": Known("openai", "https://api.together.xyz/v1"),
    # Takes response_format of json_object alone, which enforces no schema.
    "deepseek": Known("openai", "https://api.deepseek.com/v1", structured="tool"),
    "ollama": Known("openai", "http://127.0.0.1:11434/v1", needs_key=False),
    "vllm": Known("openai", "http://127.0.0.1:8000/v1", needs_key=False),
}
_COMPATIBLE = Known("openai")


def known(provider: str) -> Known:
    """What is known of `provider`. One that is not listed speaks OpenAI's dialect at the address it is configured with."""
    return KNOWN.get(provider, _COMPATIBLE)
