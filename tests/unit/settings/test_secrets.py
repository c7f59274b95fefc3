from __future__ import annotations

from quarterdeck.settings.schema import Settings
from quarterdeck.settings.secrets import secret_values


def test_every_secret_is_found_and_the_passwords_within_urls() -> None:
    settings = Settings.model_validate(
        {
            "models": {"providers": {"openai": {"api_key": "key-of-openai"}}},
            "store": {"database_url": "postgresql://app:p%40ss-word@db/x", "state_secret": "a-long-secret-of-state"},
        }
    )

    assert secret_values(settings) == {
        "key-of-openai",
        "postgresql://app:p%40ss-word@db/x",
        "p%40ss-word",
        "p@ss-word",
        "a-long-secret-of-state",
    }
