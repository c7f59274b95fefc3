"""Who is let in, put together: the keys of the users file, and tokens of the issuers that are configured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quarterdeck.app.documents import WebClient
from quarterdeck.core.errors import Misconfigured
from quarterdeck.service.access import Access, User
from quarterdeck.service.api_keys import ApiKeys
from quarterdeck.service.grants import Grants, TokenHolders
from quarterdeck.service.issued import Issuer, Tokens
from quarterdeck.service.issuer_keys import FetchedKeys, SharedSecret
from quarterdeck.service.logins import Logins
from quarterdeck.service.refused import RefusedLogins
from quarterdeck.service.stays import Stays
from quarterdeck.settings import Configuration
from quarterdeck.settings.identity import IssuerFile
from quarterdeck.store.base import Records

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Identity", "attach", "check_apart", "opened_access"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is let in, for how long, and the keys people make for themselves.

    Attributes:
        known: Those of the users file: what `access` and `keys` hold of them is replaced together.
    """

    access: Access
    keys: ApiKeys
    stays: Stays
    refused: RefusedLogins
    known: tuple[Access, ...]

    def adopt(self, users: Sequence[User], hashes: Mapping[str, str]) -> None:
        """Know these people of the users file from now on, and nobody else.

        Args:
            hashes: Of their generated keys.
        """
        for access in self.known:
            access.adopt(users, hashes)


@contextlib.asynccontextmanager
async def opened_access(
    configuration: Configuration, records: Records, hashes: Mapping[str, str], *, keyless: bool
) -> AsyncIterator[Identity]:
    """Who is let in, while the block lasts.

    Raises Misconfigured if somebody of the users file has an id that an issuer could give.
    """
    identity = configuration.settings.identity
    check_apart(configuration, configuration.users)
    async with WebClient({_origin(file.jwks_url or file.issuer) for file in identity.issuers.values()}) as client:
        issuers = [_issuer(name, file, client) for name, file in identity.issuers.items()]
        logins = Logins(records)
        tokens = Tokens(issuers, leeway_s=identity.leeway_s)
        holders = TokenHolders(tokens, Grants(records, life_s=identity.grant_s), logins)
        others = [holders] if issuers else []
        people = Access(configuration.users, {}, keyless=False, others=others)
        keys = ApiKeys(records, people)
        refused = RefusedLogins(records, tenant=identity.refused_tenant or _only_tenant(configuration))
        access = Access(configuration.users, hashes, keyless=keyless, others=[keys, *others], logins=logins, refused=refused)
        yield Identity(
            access=access, keys=keys, stays=Stays(access, every_s=identity.check_s), refused=refused, known=(access, people)
        )


def attach(app: FastAPI, keys: ApiKeys) -> None:
    """Give an application the routes of API keys."""
    from quarterdeck.transports.http.routes import keys as routes

    app.state.api_keys = keys
    app.include_router(routes.router)


def _only_tenant(configuration: Configuration) -> str | None:
    """The tenant of a server that has just one."""
    return next(iter(configuration.tenants)) if len(configuration.tenants) == 1 else None


def check_apart(configuration: Configuration, users: Sequence[User]) -> None:
    """Raises Misconfigured if somebody of the users file has an id that an issuer could give."""
    for user in users:
        if any(user.id.startswith(f"{name}-") for name in configuration.settings.identity.issuers):
            raise Misconfigured(
                f"{configuration.folder / 'users.yaml'}: {user.id} begins like users of an issuer; rename one of them"
            )


def _issuer(name: str, file: IssuerFile, client: WebClient) -> Issuer:
    secret = file.secret
    if secret is not None:
        keys: SharedSecret | FetchedKeys = SharedSecret(secret.get_secret_value().encode())
    else:
        keys = FetchedKeys(client.client, issuer=file.issuer, url=file.jwks_url)
    return Issuer(
        name=name,
        issuer=file.issuer,
        audience=file.audience,
        algorithms=frozenset({"HS256"} if secret is not None else file.algorithms),
        keys=keys,
        tenant=file.tenant,
        tenant_claim=file.tenant_claim,
        tenants=frozenset(file.tenants),
        user_claim=file.user_claim,
        roles_claim=file.roles_claim,
        groups_claim=file.groups_claim,
        scopes_claim=file.scopes_claim,
        roles=file.roles,
        roles_of_groups=file.roles_of_groups,
        groups=file.groups,
        scopes=file.scopes,
        claimable=frozenset(file.claimable),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
