"""Signed tokens of issuers one trusts: who is calling and what he may do, as their claims say."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Unauthenticated
from quarterdeck.service.issuer_keys import IssuerKeys

__all__ = ["Issued", "Issuer", "Tokens"]

_MAX_CHARACTERS = 8192
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")
_PLAIN = re.compile(r"[a-z0-9_-]{1,44}\Z")
_HASHED = re.compile(r"h-[0-9a-f]{40}\Z")
_GROUP = re.compile(r"[A-Za-z0-9_.:/-]{1,128}\Z")
_MAX_GROUPS = 200
_WRONG = "the token is not valid here"  # which of its parts is wrong is for the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Somebody whose tokens are believed, as far as this says.

    Attributes:
        name: Of one's own; its users are called ``name-subject``.
        tenant: Of all its users; None where `tenant_claim` names it.
        tenants: That it may name.
        roles: Those taken over, with the scopes of each.
        roles_of_groups: Roles that groups of `groups_claim` give, each one of `roles`.
        claimable: Scopes that `scopes_claim` may give.
    """

    name: str
    issuer: str
    audience: str
    algorithms: Collection[str]
    keys: IssuerKeys
    tenant: str | None = None
    tenant_claim: str | None = None
    tenants: Collection[str] = ()
    user_claim: str = "sub"
    roles_claim: str | None = None
    groups_claim: str | None = None
    scopes_claim: str | None = None
    roles: Mapping[str, Collection[str]]
    roles_of_groups: Mapping[str, Collection[str]] = field(default_factory=dict)
    groups: Collection[str] = ()
    scopes: Collection[str] = ()
    claimable: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a valid token says.

    Attributes:
        issued_at: By its issuer's clock, None if it does not say.
        until: When it is over, by our clock, differences between clocks allowed for.
    """

    principal: Principal
    issuer: str
    issued_at: datetime | None
    until: datetime


class Tokens:
    """Checks tokens: signature by a key of the issuer and an algorithm of ours, issuer, audience, times."""

    def __init__(
        self,
        issuers: Collection[Issuer],
        *,
        leeway_s: float = 60.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._leeway_s = int(leeway_s)
        self._now = now

    def meant(self, credential: str) -> bool:
        """Whether this has the form of a token; then it is nothing else."""
        return bool(self._issuers) and _FORM.match(credential) is not None

    async def check(self, token: str) -> Issued:
        """What the token says, once it is proved.

        Raises:
            Unauthenticated: It proves nothing: forged, over, for somebody else.
            Unavailable: The issuer's keys cannot be had now.
        """
        if len(token) > _MAX_CHARACTERS:
            raise Unauthenticated(_WRONG)
        header, claims = _part(token, 0), _part(token, 1)
        # Whom to believe is looked up by what is not proved yet; the claims that count are those behind the signature.
        issuer = self._issuers.get(str(claims.get("iss")))
        kid, algorithm = header.get("kid"), header.get("alg")
        if issuer is None or not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            raise Unauthenticated(_WRONG)
        if not (kid is None or isinstance(kid, str)):
            raise Unauthenticated(_WRONG)
        key = await issuer.keys.find(kid)
        if key is None:
            raise Unauthenticated(_WRONG)
        try:
            proved = jwt.decode(token, key, algorithms=list(issuer.algorithms)).claims
            self._hold(issuer, proved)
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated(_WRONG) from error
        return _read(issuer, proved, self._leeway_s)

    def _hold(self, issuer: Issuer, claims: Mapping[str, Any]) -> None:
        if not all(_instant(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
            raise ValueError("a time is no number")
        registry = jwt.JWTClaimsRegistry(
            now=int(self._now().timestamp()),
            leeway=self._leeway_s,
            iss={"essential": True, "value": issuer.issuer},
            aud={"essential": True, "value": issuer.audience},
            exp={"essential": True},
        )
        registry.validate(dict(claims))


def _read(issuer: Issuer, claims: Mapping[str, Any], leeway_s: int) -> Issued:
    subject = claims.get(issuer.user_claim)
    tenant = issuer.tenant or _found(claims, issuer.tenant_claim or "")
    known = isinstance(tenant, str) and (issuer.tenant is not None or tenant in issuer.tenants)
    if not isinstance(subject, str) or not subject or not known:
        raise Unauthenticated(_WRONG)
    member = _words(_found(claims, issuer.groups_claim))
    groups = [group for group in member if _GROUP.match(group)][:_MAX_GROUPS]
    named = [
        *_words(_found(claims, issuer.roles_claim)),
        *(r for group in member for r in issuer.roles_of_groups.get(group, ())),
    ]
    roles = tuple(dict.fromkeys(role for role in named if role in issuer.roles))
    said = [scope for scope in _words(_found(claims, issuer.scopes_claim)) if scope in issuer.claimable]
    scopes = {*issuer.scopes, *said, *(scope for role in roles for scope in issuer.roles[role])}
    principal = Principal(
        user=f"{issuer.name}-{_plain(subject)}",
        tenant=str(tenant),
        roles=roles,
        groups=tuple(dict.fromkeys((*issuer.groups, *groups))),
        scopes=tuple(sorted(scopes)),
    )
    at = claims.get("iat")
    return Issued(
        principal=principal,
        issuer=issuer.name,
        issued_at=None if at is None else datetime.fromtimestamp(at, UTC),
        until=datetime.fromtimestamp(claims["exp"] + leeway_s, UTC),
    )


def _plain(subject: str) -> str:
    """A subject as an id: itself where it is one, else a hash, which no subject can be chosen to look like."""
    if _PLAIN.match(subject) and not _HASHED.match(subject):
        return subject
    return f"h-{hashlib.sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _found(claims: Any, path: str | None) -> Any:
    """A claim by name, or by names with dots between them."""
    if path is None or (isinstance(claims, dict) and path in claims):
        return claims[path] if path is not None else None
    for name in path.split("."):
        claims = claims.get(name) if isinstance(claims, dict) else None
    return claims


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _instant(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e11


def _part(token: str, index: int) -> Mapping[str, Any]:
    """A part of a token as it is sent, proved by nothing."""
    text = token.split(".")[index]
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError) as error:
        raise Unauthenticated(_WRONG) from error
    if not isinstance(found, dict):
        raise Unauthenticated(_WRONG)
    return found
