from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from quarterdeck.settings.tags import TagSettings


def test_a_tag_comes_in_the_header_of_its_name_unless_another_is_given() -> None:
    settings = TagSettings.model_validate({"allowed": {"user_tier": {"shared": True}, "shadow": {"header": "x-shadow"}}})

    assert [(rule.name, rule.header) for rule in settings.rules()] == [
        ("user_tier", "x-tag-user-tier"),
        ("shadow", "x-shadow"),
    ]
    assert settings.shared() == {"user_tier"}


@pytest.mark.row("D3", part="allow-list")
@pytest.mark.parametrize(
    "allowed",
    [
        {"tracestate": {}},
        {"key": {"header": "authorization"}},
        {"key": {"header": "x-api-key"}},
        {"key": {"header": "cookie"}},
        {"key": {"header": "X-Upper"}},
        {"a": {"header": "x-same"}, "b": {"header": "x-same"}},
        {"no space": {}},
        {f"t{number}": {} for number in range(40)},
    ],
)
def test_a_tag_in_a_header_that_means_something_else_is_a_mistake(allowed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TagSettings.model_validate({"allowed": allowed})
