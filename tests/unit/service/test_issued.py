"""Tokens of issuers: believed only with the right signature, for this server, now."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Unauthenticated
from quarterdeck.service.access import Access, Caller, User
from quarterdeck.service.grants import Grants, TokenHolders
from quarterdeck.service.issued import Issuer, Tokens
from quarterdeck.service.issuer_keys import SharedSecret
from quarterdeck.store.memory import MemoryStore

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RSA = RSAKey.generate_key(2048, {"kid": "k1"})
SECRET = b"s" * 32
ISS, AUD = "https://login.example", "quarterdeck"


class Known:
    """Keys by name, as fetched ones are."""

    async def find(self, kid: str | None) -> Any:
        return {"k1": RSA}.get(kid or "k1")


def issuer(**more: Any) -> Issuer:
    given: dict[str, Any] = {"name": "corp", "issuer": ISS, "audience": AUD, "algorithms": {"RS256"}, "keys": Known()}
    given |= {"tenant": "acme", "scopes": ("chat",), "roles": {"lead": ("approvals",)}, "roles_claim": "realm.roles"}
    return Issuer(**{**given, "groups_claim": "groups", **more})


def claims(**more: Any) -> dict[str, Any]:
    at = int(NOW.timestamp())
    return {"iss": ISS, "aud": AUD, "sub": "ann", "iat": at, "exp": at + 600, **more}


def signed(said: Mapping[str, Any], *, key: Any = RSA, **header: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k1", **header}, dict(said), key, algorithms=[header.get("alg", "RS256")])


def tokens(*issuers: Issuer) -> Tokens:
    return Tokens(issuers or [issuer()], now=lambda: NOW)


def bare(header: Mapping[str, Any], said: Mapping[str, Any], signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, said)]
    return ".".join([*parts, signature])


@pytest.mark.row("S9", part="tokens of issuers")
async def test_claims_say_who_is_calling_and_only_known_roles_are_taken_over() -> None:
    said = claims(realm={"roles": ["lead", "admin"]}, groups=["hr", "a\nb"], scope="operate")

    found = (await tokens().check(signed(said))).principal

    assert (found.user, found.tenant) == ("corp-ann", "acme")
    assert (found.roles, found.groups, found.scopes) == (("lead",), ("hr",), ("approvals", "chat"))


@pytest.mark.row("S9", part="tokens of issuers")
async def test_groups_give_roles_where_a_provider_tells_no_roles() -> None:
    leads = issuer(roles={"approver": ("approvals",), "auditor": ("audit.read",)}, roles_of_groups={"leads": ["approver"]})

    lead = (await tokens(leads).check(signed(claims(groups=["hr", "leads"], realm={"roles": ["approver"]})))).principal
    other = (await tokens(leads).check(signed(claims(groups=["hr"])))).principal

    assert (lead.roles, lead.groups, lead.scopes) == (("approver",), ("hr", "leads"), ("approvals", "chat"))
    assert (other.roles, other.scopes) == ((), ("chat",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": int(NOW.timestamp()) - 61},
        {"exp": "never"},
        {"exp": None},
        {"nbf": int(NOW.timestamp()) + 61},
        {"iat": int(NOW.timestamp()) + 61},
        {"sub": ""},
        {"sub": 7},
    ],
)
@pytest.mark.row("S9", part="tokens of issuers")
async def test_token_for_somebody_else_or_another_time_proves_nothing(wrong: dict[str, Any]) -> None:
    said = {name: value for name, value in {**claims(), **wrong}.items() if value is not None}

    with pytest.raises(Unauthenticated):
        await tokens().check(signed(said))


async def test_clocks_may_differ_a_minute() -> None:
    late = claims(exp=int(NOW.timestamp()) - 55)

    assert (await tokens().check(signed(late))).principal.user == "corp-ann"


@pytest.mark.row("S9", part="tokens of issuers")
@pytest.mark.parametrize("kid", ["../../etc/passwd", "k1' OR '1'='1", "k2", ["k1"], {"k": 1}])
async def test_name_of_a_key_is_looked_up_and_goes_nowhere(kid: Any) -> None:
    renamed = signed(claims(), kid=kid) if isinstance(kid, str) else bare({"alg": "RS256", "kid": kid}, claims(), "AAAA")

    with pytest.raises(Unauthenticated):
        await tokens().check(renamed)


@pytest.mark.row("S9", part="tokens of issuers")
async def test_algorithms_are_ours_to_choose() -> None:
    public = RSA.as_pem(private=False)
    unsigned = [
        bare({"alg": alg, "kid": "k1"}, claims()) for alg in ("none", "None", "NONE", None, 7, ["RS256"], {"RS256": 1})
    ]
    confused = signed(claims(), key=OctKey.import_key(base64.b64encode(public)), alg="HS256")
    embedded = bare({"alg": "RS256", "jwk": RSA.as_dict(private=False)}, claims(), "AAAA")

    for token in (*unsigned, confused, embedded, signed(claims()) + "x", "a.b.c", "." * 2):
        with pytest.raises(Unauthenticated):
            await tokens().check(token)


async def test_shared_secret_counts_where_it_is_wanted() -> None:
    shared = tokens(issuer(keys=SharedSecret(SECRET), algorithms={"HS256"}))

    good = await shared.check(signed(claims(), key=OctKey.import_key(SECRET), alg="HS256"))

    assert good.principal.user == "corp-ann"
    with pytest.raises(Unauthenticated):
        await shared.check(signed(claims(), key=OctKey.import_key(b"t" * 32), alg="HS256"))


async def test_issuer_names_only_the_tenants_it_may() -> None:
    several = tokens(issuer(tenant=None, tenant_claim="org", tenants={"acme", "globex"}))

    assert (await several.check(signed(claims(org="globex")))).principal.tenant == "globex"
    for org in ("initech", "", None, ["acme"], {"a": 1}):
        with pytest.raises(Unauthenticated):
            await several.check(signed(claims(org=org)))


async def test_no_subject_can_be_chosen_to_be_another() -> None:
    odd = (await tokens().check(signed(claims(sub="Ann|1")))).principal.user

    copied = (await tokens().check(signed(claims(sub=odd.removeprefix("corp-"))))).principal.user

    assert odd.startswith("corp-h-")
    assert copied != odd


@pytest.mark.row("S9", part="rights of the absent")
async def test_runs_of_somebody_with_a_token_go_on_for_a_time_with_what_the_newest_said() -> None:
    present = [NOW]
    records = MemoryStore().records
    holders = TokenHolders(
        tokens(issuer(claimable={"operate"}, scopes_claim="scope")), Grants(records, life_s=3600.0, now=lambda: present[0])
    )
    access = Access([User(id="emma", tenant="acme")], {}, keyless=False, others=[holders])
    ann = Principal(user="corp-ann", tenant="acme")
    older = signed(claims(iat=int(NOW.timestamp()) - 30, scope="operate"))

    for token in (signed(claims()), older):
        await access.admit(Caller(key=token, forwarded=True, known_origin=False, loopback=False))
    granted = await access.current(ann)
    elsewhere = await access.current(Principal(user="corp-ann", tenant="globex"))
    present[0] += timedelta(hours=2)

    assert granted is not None
    assert granted.scopes == ("chat",)
    assert elsewhere is None
    assert await access.current(ann) is None


@pytest.mark.row("S9", part="open streams")
async def test_end_of_a_token_is_told_with_what_clocks_may_differ() -> None:
    records = MemoryStore().records
    holders = TokenHolders(tokens(), Grants(records, life_s=3600.0, now=lambda: NOW))
    access = Access([], {}, keyless=False, others=[holders])
    token = signed(claims())

    until = await access.until(Caller(key=token, forwarded=True, known_origin=False, loopback=False))

    assert until == NOW + timedelta(seconds=660)
