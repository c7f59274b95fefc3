"""Which model answers under a name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from quarterdeck.app.chains import Chains, prices
from quarterdeck.app.implementations import PROVIDERS, resolve
from quarterdeck.app.providers import KNOWN, Known, known
from quarterdeck.core.context import Context
from quarterdeck.core.errors import Misconfigured
from quarterdeck.models.base import Budget, Completion, Emit, Model, ModelRequest
from quarterdeck.models.embeddings import Embedded, Embedder, OpenAIEmbedder
from quarterdeck.models.structured import Mode, Structured
from quarterdeck.net.client import GuardedClient
from quarterdeck.settings import Configuration, Settings, environment_only
from quarterdeck.settings.load import CUSTOMARY, PREFIX
from quarterdeck.settings.schema import ModelSettings, Provider
from quarterdeck.store.breaker import BreakerState

__all__ = ["ModelShelf", "library_models", "shelf"]

SIMULATED = "simulated"


class ModelShelf:
    """Implements `agent.base.Models`: makes each model once, wrapped as configured, over one connection pool for all.

    Attributes:
        warnings: What a person should know of the models given out so far.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        folder: Path = Path(),
        budget: Budget | None = None,
        breakers: BreakerState | None = None,
    ) -> None:
        """
        Args:
            folder: Which paths in the settings are relative to.
            budget: None where nothing is counted.
            breakers: Closed by whoever opened it; None for circuits of this process.
        """
        self.warnings: list[str] = []
        self._settings = settings
        self._made: dict[str, Model] = {}
        self._client: GuardedClient | None = None
        self._chains = Chains(settings.models, self._make, folder=folder, budget=budget, breakers=breakers)

    def get(self, name: str) -> Model:
        """The model under ``provider:name`` or a role. Raises Misconfigured for an unknown provider or a missing key."""
        if name not in self._made:
            self._made[name] = self._chains.whole(name)
        return self._made[name]

    async def client(self) -> GuardedClient:
        """The pool, opened with the first call that needs it: a program on the simulated model never pays for it."""
        if self._client is None:
            reranker = self._settings.knowledge.reranker.url
            addresses = _addresses(self._settings.models.providers) + ([reranker] if reranker else [])
            self._client = GuardedClient(allowed_origins=map(_origin, addresses), shared_tags=self._settings.tags.shared())
            await self._client.__aenter__()
        return self._client

    async def close(self) -> None:
        """Let go of the connections. The shelf can be used again afterwards."""
        client, self._client = self._client, None
        self._made.clear()
        if client is not None:
            await client.__aexit__(None, None, None)

    def _make(self, name: str) -> Model:
        """The model itself, with nothing around it but what it takes to satisfy a schema."""
        provider, _, rest = name.partition(":")
        wants_remote = self._settings.models.mode == "remote" or self._settings.env == "production"
        if provider == SIMULATED:
            if wants_remote:
                raise Misconfigured(f"model {name!r} is refused in production and with LLM_MODE=remote")
            return _simulated()
        if self._settings.models.mode == "local":
            return _simulated()
        if not rest:
            raise Misconfigured(f"model {name!r} is not of the form provider:name")
        how = known(provider)
        configured = self._configured(name)
        if (variable := _missing_key(name, configured)) is not None:
            if wants_remote:
                raise Misconfigured(f"model {name!r} needs a key: set {variable}")
            self.warnings.append(f"{variable} is not set: the simulated model answers in place of {name}")
            return _simulated()
        self._warn_of_price(name)
        connected = _Connected(name, how, configured, self._settings.models, self)
        mode = self._structured(name)
        return connected if mode == "native" else Structured(connected, mode)

    def embedder(self, name: str, *, dim: int, shorten: bool = False, languages: frozenset[str] | None = None) -> Embedder:
        """What makes vectors at the endpoint of a provider, asked again, metered and given rest as its models are.

        Nothing stands in for it: made-up vectors would find what they like. Raises Misconfigured for an unknown provider,
        one without such an endpoint, or a missing key.
        """
        if known(name.partition(":")[0]).dialect not in ("openai", "openai-responses"):
            raise Misconfigured(f"there is no endpoint for vectors known of {name!r}: use an OpenAI-compatible one")
        configured = self._configured(name)
        if (variable := _missing_key(name, configured)) is not None:
            raise Misconfigured(f"the embedder {name!r} needs a key: set {variable}")
        return _ConnectedEmbedder(
            name, dim, languages, lambda: self._open_embedder(name, configured, dim, shorten, languages)
        )

    async def _open_embedder(
        self, name: str, configured: Provider, dim: int, shorten: bool, languages: frozenset[str] | None
    ) -> Embedder:
        return OpenAIEmbedder(
            name,
            dim=dim,
            shorten=shorten,
            languages=languages,
            base_url=configured.base_url or known(name.partition(":")[0]).base_url or "",
            api_key=configured.api_key.get_secret_value() if configured.api_key else "",
            client=await self.client(),
            timeout_s=self._settings.models.timeout_s,
            wrap=self._chains.guarded,
        )

    def _configured(self, name: str) -> Provider:
        """What is configured of the provider of ``provider:name``. Raises Misconfigured if nobody knows where it is."""
        provider = name.partition(":")[0]
        how = known(provider)
        owner = how.settings or provider
        configured = self._settings.models.providers.get(owner, Provider())
        if configured.base_url is None and how.base_url is None:
            names = ", ".join(name for name, each in KNOWN.items() if each.base_url)
            raise Misconfigured(f"model {name!r}: set models.providers.{owner}.base_url, or use one of: {names}")
        return configured

    def _warn_of_price(self, name: str) -> None:
        kept = any(limit.max_usd is not None and limit.stops for limit in self._settings.budgets)
        if kept and prices(self._settings.models).of(name) is None:
            self.warnings.append(
                f"{name} has no known price and will not be asked where a budget is in money: add it to models.prices"
            )

    def _structured(self, name: str) -> Mode:
        chosen = self._settings.models.structured
        provider = name.partition(":")[0]
        return chosen.get(name) or chosen.get(provider) or known(provider).structured


@contextlib.asynccontextmanager
async def shelf(configuration: Configuration) -> AsyncIterator[ModelShelf]:
    """The models of a folder while the block lasts, with no budget: for work that nobody asked a question for."""
    models = ModelShelf(configuration.settings, folder=configuration.folder)
    try:
        yield models
    finally:
        await models.close()


class _Connected:
    """A model on the wire whose connections are opened when it is first asked."""

    def __init__(self, name: str, how: Known, configured: Provider, models: ModelSettings, shelf: ModelShelf) -> None:
        self.name = name
        self._how = how
        self._configured = configured
        self._models = models
        self._shelf = shelf
        self._model: Model | None = None

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        if self._model is None:
            configured = self._configured
            self._model = resolve(PROVIDERS, self._how.dialect, "model provider")(
                self.name,
                base_url=configured.base_url or self._how.base_url,
                api_key=configured.api_key.get_secret_value() if configured.api_key else "",
                client=await self._shelf.client(),
                timeout_s=self._models.timeout_s,
                idle_timeout_s=self._models.idle_timeout_s,
                **({"api_version": configured.api_version} if self._how.dialect == "azure" else {}),
            )
        return await self._model.complete(request, ctx, emit)


class _ConnectedEmbedder:
    """An embedder on the wire whose connections are opened when it is first asked."""

    def __init__(
        self, name: str, dim: int, languages: frozenset[str] | None, connect: Callable[[], Awaitable[Embedder]]
    ) -> None:
        self.id = f"{name}/{dim}"
        self.dim = dim
        self.languages = languages
        self._connect = connect
        self._embedder: Embedder | None = None

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        if self._embedder is None:
            self._embedder = await self._connect()
        return await self._embedder.embed(texts, ctx)


def library_models(model: str) -> tuple[ModelShelf, str | None]:
    """A shelf for a program without a configuration folder, and a warning if `model` is answered for by another.

    Raises Misconfigured as `ModelShelf.get` does.
    """
    shelf = ModelShelf(environment_only(os.environ))
    shelf.get(model)
    return shelf, next(iter(shelf.warnings), None)


def _simulated() -> Model:
    # Its vocabulary is built at import: a program with a real model does not pay for it.
    from quarterdeck.models.simulated import SimulatedModel

    return SimulatedModel()


def _missing_key(name: str, configured: Provider) -> str | None:
    """The variable with the key that the provider of ``provider:name`` wants and nobody gave; None if all is there."""
    provider = name.partition(":")[0]
    how = known(provider)
    if configured.api_key is not None or configured.base_url is not None or not how.needs_key:
        return None
    return _key_variable(how.settings or provider)


def _key_variable(provider: str) -> str:
    path = ("models", "providers", provider, "api_key")
    return next((name for name, target in CUSTOMARY.items() if target == path), f"{PREFIX}{'__'.join(path)}".upper())


def _addresses(providers: Mapping[str, Provider]) -> list[str]:
    """Addresses that may be private, such as a model server on this machine: those configured, and of known such servers.

    This pool calls the addresses of models and no other, so that nothing a model says reaches them.
    """
    configured = [provider.base_url for provider in providers.values() if provider.base_url]
    return configured + [each.base_url for each in KNOWN.values() if each.base_url and not each.needs_key]


def _origin(address: str) -> str:
    split = urlsplit(address)
    return f"{split.scheme}://{split.netloc}"
