"""What a section about issuers must say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from quarterdeck.settings.identity import IdentitySettings, IssuerFile

GOOD: dict[str, Any] = {"issuer": "https://login.example", "audience": "desk", "tenant": "acme"}


def test_issuer_with_address_audience_and_tenant_is_enough() -> None:
    assert IssuerFile(**GOOD).algorithms == ("RS256", "ES256")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant": None}, "tenant or tenant_claim"),
        ({"tenant": None, "tenant_claim": "org"}, "tenants: those it may name"),
        ({"secret": "short"}, "shorter than 32 bytes"),
        ({"issuer": "http://login.example"}, "over https"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"groups_claim": "groups", "roles_of_groups": {"leads": ["approver"]}}, "approver: no such role"),
        ({"roles": {"approver": ["approvals"]}, "roles_of_groups": {"leads": ["approver"]}}, "needs groups_claim"),
    ],
)
def test_mistake_about_an_issuer_is_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IssuerFile(**{**GOOD, **wrong})


@pytest.mark.row("S9", part="tokens of issuers")
def test_one_issuer_stands_there_once() -> None:
    other = IssuerFile(**{**GOOD, "issuer": "https://other.example"})

    assert len(IdentitySettings(issuers={"corp": IssuerFile(**GOOD), "other": other}).issuers) == 2
    with pytest.raises(ValidationError, match="stands there twice"):
        IdentitySettings(issuers={"corp": IssuerFile(**GOOD), "again": IssuerFile(**{**GOOD, "audience": "another"})})
