"""The examples of docs/howto/models.md, run against a local provider."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from quarterdeck.settings import load
from tests.dialects import DIALECTS
from tests.provider import Provider

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "models.md"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


async def helpful(request: web.Request) -> web.StreamResponse:
    """Vectors, a forecast where a schema demands one, otherwise a sentence."""
    asked = json.loads(await request.read())
    if request.path.endswith("/embeddings"):
        data = [{"index": n, "embedding": [0.5] * asked["dimensions"]} for n, _ in enumerate(asked["input"])]
        return web.json_response({"data": data, "usage": {"prompt_tokens": 4}})
    text = '{"city": "Oslo", "degrees": 3.5}' if "response_format" in asked else "Fine, thank you."
    return await DIALECTS["openai"].answers((text,), watched=bool(asked.get("stream")))(request)


@pytest.fixture
def base_url() -> Iterator[str]:
    """The address of a provider that runs in a thread of its own, as the examples have event loops of their own."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with Provider() as provider:
            provider.otherwise = helpful
            found.append(provider.base_url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.mark.row("R1", part="guide")
def test_the_python_of_the_guide_runs_from_top_to_bottom(base_url: str, tmp_path: Path) -> None:
    script = tmp_path / "guide.py"
    script.write_text("\n".join(examples("python")), encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={"OPENAI_BASE_URL": base_url, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "Fine, thank you.",
        "Weather(city='Oslo', degrees=3.5)",
        "Fine, thank you.20 8 0",
        "2 4",
    ]


def test_every_configuration_of_the_guide_is_one(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text("instructions: Help.\n")
    loaded = []

    for example in examples("yaml"):
        (tmp_path / "quarterdeck.yaml").write_text(example)
        loaded.append(load(tmp_path, {}).settings)

    by_file, failing, routed, spent = loaded
    assert by_file.models.default == "azure:my-deployment"
    assert by_file.models.structured == {"gpu": "tool", "ollama:llama3": "prompted"}
    assert failing.models.fallbacks == {"openai:gpt-5": ("anthropic:claude-sonnet-4-5", "preset")}
    assert routed.models.router.default_class == "hard"
    assert [limit.scope for limit in spent.budgets] == ["user", "group", "model", "run"]
