"""Ids of the one thing that was found are as good as typed; anything less sure is not."""

from __future__ import annotations

import pytest

from quarterdeck.policy.resolving import only_ids


@pytest.mark.row("G5", part="resolvers")
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('[{"id": "24", "title": "13"}]', {"event_id": "24"}),
        ('{"id": 24, "title": "13"}', {"event_id": "24"}),
        ('[{"id": "24"}, {"id": "25"}]', {}),
        ("[]", {}),
        ('[["24"]]', {}),
        ('[{"title": "24"}]', {}),
        ('[{"id": ["24"]}]', {}),
        ('[{"id": true}]', {}),
        ('[{"id": ""}]', {}),
        ("24", {}),
        ("no JSON: 24", {}),
    ],
)
def test_only_a_field_of_the_one_thing_found_is_an_id(text: str, ids: dict[str, str]) -> None:
    assert only_ids(text, {"id": "event_id"}) == ids
