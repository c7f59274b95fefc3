from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.app.evaluation import apart, grading
from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings import load

EXAMPLE = Path(__file__).parents[3] / "examples" / "support_desk"
SHARED = {
    "DATABASE_URL": "postgresql://desk@127.0.0.1/desk",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "VECTOR_DB_URL": "sqlite:///shared.sqlite3",
    "QUARTERDECK_STORE__STATE_URL": "file:///shared",
    "QUARTERDECK_WORKER__IN_SERVER": "false",
    "QUARTERDECK_MODELS__CACHE__ENABLED": "true",
}


@pytest.mark.row("E1", part="command")
def test_an_evaluation_shares_nothing_with_the_servers_of_its_folder(tmp_path: Path) -> None:
    configuration = load(EXAMPLE, SHARED, apart(tmp_path))

    settings = configuration.settings
    assert configuration.data == tmp_path
    assert (settings.store.database_url, settings.store.redis_url, settings.store.state_url) == (None, None, None)
    assert settings.knowledge.index_url is None
    assert settings.worker.in_server
    assert not settings.models.cache.enabled


async def test_rubrics_are_graded_by_the_named_model_or_the_default_one(tmp_path: Path) -> None:
    configuration = load(EXAMPLE, {"OPENAI_API_KEY": "sk-none"}, apart(tmp_path))

    async with grading(configuration, None) as default, grading(configuration, "openai:gpt-5") as named:
        assert default is not named
    with pytest.raises(Misconfigured, match="cannot judge"):
        async with grading(configuration, "simulated"):
            pass
