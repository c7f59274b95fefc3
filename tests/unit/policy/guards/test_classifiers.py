"""Classifiers: asked over HTTP or of a model, in time, remembered, and failing as configuration says."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from aiohttp import web

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import ModelUnavailable, QuarterdeckError, Unavailable
from quarterdeck.models.base import ModelRequest
from quarterdeck.net.client import GuardedClient
from quarterdeck.policy.guards.asked import Bounded, Remembering
from quarterdeck.policy.guards.base import About, Finding
from quarterdeck.policy.guards.chain import Chain
from quarterdeck.policy.guards.classifiers import HttpClassifier, ModelClassifier
from quarterdeck.policy.guards.window import Window
from tests.unit.agent.scene import Scripted, says

pytestmark = pytest.mark.row("G6", part="classifiers")


def about(tenant: str = "acme") -> About:
    principal = Principal(user="anna", tenant=tenant)
    return About(context=Context(principal=principal, run_id="r", deadline=time.monotonic() + 60))


class Service:
    """A classifier that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = {"score": 0.9}
        self.status = 200
        self.waits = False
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    async def judge(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        if self.waits:
            await anyio.sleep(30)  # nobody waits for it so long: the caller goes away, and this is cancelled
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(status=self.status, text=text, content_type="application/json")


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, HttpClassifier]]:
    told = Service()
    app = web.Application()
    app.router.add_post("/judge", told.judge)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with GuardedClient(allowed_origins=[origin]) as client:
        headers = {"Authorization": "Bearer sk-judge"}
        yield told, HttpClassifier(name="tox", client=client, url=f"{origin}/judge", threshold=0.8, headers=headers)
    await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"score": 0.8}, [Finding("tox", 0, 9)]),
        ({"score": 0.79}, []),
        ({"flagged": True}, [Finding("tox", 0, 9)]),
        ({"flagged": False, "score": 1.0}, []),
        ({"flagged": True, "spans": [[0, 3], [4, 99]]}, [Finding("tox", 0, 3), Finding("tox", 4, 9)]),
        ({"flagged": True, "spans": [[900, 950]]}, [Finding("tox", 0, 9)]),
        ({"flagged": True, "spans": [[0, 3], [7, 4]]}, [Finding("tox", 0, 9)]),
    ],
)
async def test_a_service_says_what_a_text_is_and_where(
    service: tuple[Service, HttpClassifier], answer: Any, found: Sequence[Finding]
) -> None:
    told, classifier = service
    told.answer = answer

    assert list(await classifier.find("you idiot", about())) == found
    assert told.asked == [{"text": "you idiot"}]
    assert told.keys == ["Bearer sk-judge"]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        "500",
        "redirected",
        "no JSON",
        "no verdict",
        "a text for a flag",
        "no number",
        "too large a number",
        "a place without end",
        "10 MB",
        "late",
        "away",
    ],
)
async def test_a_service_that_gives_no_verdict_counts_as_configured(
    service: tuple[Service, HttpClassifier], how: str, closed: bool
) -> None:
    told, classifier = service
    match how:
        case "500":
            told.status = 500
        case "redirected":
            told.status, told.answer = 307, {"flagged": False}
        case "no JSON":
            told.answer = "<html>"
        case "no number":
            told.answer = {"score": float("nan")}
        case "too large a number":
            told.answer = f'{{"score": 1{"0" * 400}}}'
        case "a place without end":
            told.answer = {"flagged": True, "spans": [[0, float("inf")]]}
        case "10 MB":
            told.answer = '{"flagged": false, "why": "' + "x" * 10_000_000 + '"}'
        case "no verdict":
            told.answer = {"ok": True}
        case "a text for a flag":
            told.answer = {"flagged": "no"}
        case "late":
            told.waits = True
        case "away":
            classifier = HttpClassifier(name="tox", client=classifier.client, url="http://127.0.0.1:1/judge")
    guard = Bounded(classifier, timeout_s=0.2 if how == "late" else 5.0, closed=closed)

    began = time.monotonic()
    found = await guard.find("you idiot", about())

    assert list(found) == ([Finding("tox.unknown", 0, 9)] if closed else [])
    assert time.monotonic() - began < 5.0


async def test_a_verdict_is_remembered_for_a_time_for_one_tenant_and_a_failure_is_not() -> None:
    now = [100.0]
    asked: list[str] = []

    class Judge:
        name = "tox"
        broken = False

        async def find(self, text: str, about: About) -> Sequence[Finding]:
            asked.append(text)
            if self.broken:
                raise Unavailable("away")
            return [Finding("tox", 0, 1)]

    judge = Judge()
    guard = Remembering(judge, ttl_s=60, clock=lambda: now[0])

    judge.broken = True
    with pytest.raises(QuarterdeckError):
        await guard.find("x", about())
    judge.broken = False
    twice = [await guard.find("x", about()) for _ in range(2)]
    await guard.find("x", about("globex"))
    now[0] += 61
    await guard.find("x", about())

    assert twice == [[Finding("tox", 0, 1)]] * 2
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"yes": true}', [Finding("legal", 0, 11)]),
        ('{"yes": false}', []),
        ('```json\n{"yes": true}\n```', [Finding("legal", 0, 11)]),
        ("Yes, of course.", [Finding("legal.unknown", 0, 11)]),
        ('{"yes": "no"}', [Finding("legal.unknown", 0, 11)]),
        (ModelUnavailable("away"), [Finding("legal.unknown", 0, 11)]),
    ],
)
async def test_a_model_is_asked_a_question_about_a_text_which_is_material(said: Any, found: Sequence[Finding]) -> None:
    model = Scripted(says(said) if isinstance(said, str) else said)
    guard = Bounded(ModelClassifier(name="legal", model=lambda: model, question="Is it?"), timeout_s=5, closed=True)

    assert list(await guard.find("May I sue?!", about())) == found

    request: ModelRequest = model.requests[0]
    assert json.loads(request.messages[-1].text) == {"question": "Is it?", "text": "May I sue?!"}


async def test_where_nobody_can_be_asked_nobody_knows() -> None:
    guard = ModelClassifier(name="legal", model=lambda: Scripted(), question="Is it?")

    with pytest.raises(Unavailable):
        await guard.find("x", About())


async def test_an_answer_that_is_judged_as_a_whole_is_not_told_in_pieces() -> None:
    window = Window(Chain(), about(), closed=True)

    assert (await window.feed("All is well. "), await window.finish()) == ("", "")
