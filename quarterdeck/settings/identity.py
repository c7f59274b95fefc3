"""The ``identity`` section: whose tokens are believed, and what their claims mean."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, model_validator

from quarterdeck.settings.sections import Id, Seconds, Section, Words

__all__ = ["IdentitySettings", "IssuerFile"]

# Users of an issuer are called NAME-SUBJECT: without a dash in the name no two issuers can mean the same.
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,15}$")]
_Asymmetric = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LEAST_SECRET = 32  # bytes, as many as the hash has


class IssuerFile(Section):
    """Somebody whose signed tokens (JWT) say who is calling."""

    issuer: str = Field(min_length=1, max_length=1000, description="Exactly what iss of its tokens says.")
    audience: str = Field(min_length=1, max_length=1000, description="What aud of a token for this server holds.")
    algorithms: tuple[_Asymmetric, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Signatures that count, whatever a token says of itself."
    )
    jwks_url: str | None = Field(
        None, description="Where its keys are. None: where ISSUER/.well-known/openid-configuration says."
    )
    secret: SecretStr | None = Field(
        None,
        description="In place of keys: a secret of 32 bytes or more that is shared with it. Then HS256 alone counts.",
    )
    tenant: Id | None = Field(None, description="Tenant of all its users.")
    tenant_claim: str | None = Field(None, description="In place of tenant: the claim that names it.")
    tenants: tuple[Id, ...] = Field((), description="Tenants it may name.")
    user_claim: str = Field("sub", description="Claim that tells users apart. A person is called NAME-CLAIM here.")
    roles_claim: str | None = Field(None, description="Claim with roles; a dot goes inside, as in realm_access.roles.")
    groups_claim: str | None = Field(None, description="Claim with groups, which say what may be read.")
    scopes_claim: str | None = Field(None, description="Claim with rights, as a list or with spaces between them.")
    roles: dict[str, Words] = Field(default_factory=dict, description="Roles that are taken over, with the scopes of each.")
    roles_of_groups: dict[str, Words] = Field(
        default_factory=dict, description="By group of groups_claim, roles its members have: some of those in roles."
    )
    groups: Words = Field((), description="Groups of all its users.")
    scopes: Words = Field((), description="Scopes of all its users.")
    claimable: Words = Field((), description="Scopes that scopes_claim may give; others in it are not taken over.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("say tenant or tenant_claim, one of them")
        if self.tenant_claim is not None and not self.tenants:
            raise ValueError("tenant_claim needs tenants: those it may name")
        unknown = {role for roles in self.roles_of_groups.values() for role in roles} - self.roles.keys()
        if unknown:
            raise ValueError(f"roles_of_groups: {', '.join(sorted(unknown))}: no such role stands in roles")
        if self.roles_of_groups and self.groups_claim is None:
            raise ValueError("roles_of_groups needs groups_claim")
        if self.secret is not None and self.jwks_url is not None:
            raise ValueError("say jwks_url or secret, not both")
        if self.secret is not None and len(self.secret.get_secret_value().encode()) < _LEAST_SECRET:
            raise ValueError(f"secret: it is shorter than {_LEAST_SECRET} bytes")
        if self.secret is None and not _sound(self.jwks_url or self.issuer):
            raise ValueError("keys are fetched over https, or from this machine")
        return self


class IdentitySettings(Section):
    """Who is let in besides the holders of keys."""

    issuers: dict[_Name, IssuerFile] = Field(default_factory=dict, max_length=16, description="By a name of one's own.")
    leeway_s: float = Field(60.0, ge=0, le=300, description="Seconds that clocks may differ.")
    reload_s: Seconds | None = Field(
        0.5,
        le=30,
        description="Seconds between two looks at users.yaml; what a changed one takes from somebody is gone from then on, "
        "a wrong one changes nothing. null reads it at the start only.",
    )
    check_s: Seconds = Field(
        15.0, le=50, description="Seconds between looks whether who opened a stream or connection may still read it."
    )
    refused_tenant: Id | None = Field(
        None,
        description="Tenant whose audit log tells of credentials that are nobody's. None: that of the only tenant there is.",
    )
    grant_s: Seconds = Field(
        43_200.0, description="Seconds after a token was last seen for which the user's runs go on with what it said."
    )

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        """A token names whom it is from and nothing else: of two who are called alike one would never be believed."""
        names = [file.issuer for file in self.issuers.values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"issuers: {', '.join(twice)} stands there twice; tenant_claim and roles tell its people apart")
        return self


def _sound(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
