"""What is told to the outside: webhooks, event streams, and how patiently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from quarterdeck.core.errors import InvalidInput
from quarterdeck.net.written import check_written
from quarterdeck.service.deliveries import NOTICES
from quarterdeck.service.webhooks import secret_bytes
from quarterdeck.settings.sections import Id, Seconds, Section, Words

__all__ = ["DeliverySettings", "EventStreamFile", "WebhookFile"]

_TOLD: Mapping[str, str] = {name: f"{name}: {meaning}" for name, meaning in NOTICES.items()}
_EVENTS_TEXT = f"What it is told of. {'; '.join(_TOLD.values())}."


def _events(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in NOTICES:
            raise ValueError(f"there is no event {name!r}; there are: {', '.join(NOTICES)}")
    return names


def _address(url: str) -> str:
    try:
        check_written(url)
    except InvalidInput as error:
        raise ValueError(str(error).removeprefix("url: ")) from error
    return url


def _secret(secret: SecretStr) -> SecretStr:
    try:
        secret_bytes(secret.get_secret_value())
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return secret


Events = Annotated[Words, AfterValidator(_events)]
Address = Annotated[str, AfterValidator(_address)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]


class WebhookFile(Section):
    """An address that is told what happens. It may be a private one: whoever writes this file answers for it."""

    url: Address = Field(description="Where deliveries are posted.")
    events: Events = Field(("run_finished", "run_failed", "approval_needed"), min_length=1, description=_EVENTS_TEXT)
    tenant: Id | None = Field(None, description="Whose runs it is told of; None for those of all tenants.")
    # Needed, but not here: a profile is checked without the environment, where secrets belong.
    secret: Secret | None = Field(
        None,
        description="Signs its deliveries, and must be given: whsec_ and 24 to 64 random bytes as base64. Keep it in the "
        "environment, as QUARTERDECK_WEBHOOKS__NAME__SECRET.",
    )
    old_secret: Secret | None = Field(
        None, description="The one before, while its receiver changes over: deliveries are signed with both."
    )
    readers: Words = Field(
        (),
        description="Names such as user:crm or group:hr; answers that these may read are sent along. Empty: ids and states.",
    )


class EventStreamFile(Section):
    """A stream of Redis that gets an entry for every notice."""

    kind: Literal["redis"] = Field("redis", description="What keeps it.")
    url: SecretStr | None = Field(None, description="redis://HOST:PORT/DATABASE; None for store.redis_url.")
    key: str = Field("quarterdeck:events", min_length=1, max_length=200, description="Key of the stream.")
    events: Events = Field(tuple(NOTICES), min_length=1, description=_EVENTS_TEXT)
    tenant: Id | None = Field(None, description="Whose runs it is told of; None for those of all tenants.")
    max_entries: int = Field(100_000, ge=100, description="Entries kept, about; the oldest go.")


class DeliverySettings(Section):
    """How what happened reaches webhooks, streams and mailboxes."""

    timeout_s: Seconds = Field(10.0, le=300, description="Seconds one attempt may take.")
    retry_base_s: Seconds = Field(5.0, description="Seconds before the first repeat, about; it doubles from there.")
    retry_longest_s: Seconds = Field(3600.0, description="Seconds between two attempts, at most.")
    give_up_s: Seconds = Field(259_200.0, description="Seconds after which a delivery that never arrived is a dead letter.")
    concurrency: int = Field(16, ge=1, le=1000, description="Deliveries under way at once in one process.")
    keep_days: float = Field(7.0, gt=0, le=3650, description="Days deliveries are listed that arrived or are dead.")
    allowed_origins: Words = Field(
        (), description="Origins, such as http://hooks.internal:9000, that tenants may name although they are not public."
    )
