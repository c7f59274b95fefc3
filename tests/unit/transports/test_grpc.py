from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quarterdeck.core.answers import Answer, Confidence
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.events import FinalAnswer, RunFailed
from quarterdeck.core.runs import RunStatus, StopReason
from quarterdeck.service.access import Access
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.service.stays import Stays
from quarterdeck.store.base import Entry
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.telemetry.tags import TagRule, TagRules
from quarterdeck.transports.grpc import agent_pb2 as pb
from quarterdeck.transports.grpc.calls import SCOPES, Entrance
from quarterdeck.transports.grpc.errors import STATUS
from quarterdeck.transports.grpc.server import GrpcServer, serving
from quarterdeck.transports.grpc.service import AgentService
from quarterdeck.transports.http import errors as http_errors
from tests.unit.transports.conftest import KEYS, USERS, Served
from tests.unit.transports.test_tags import started

EMMA = (("authorization", f"Bearer {KEYS['emma']}"),)


class Client:
    """Calls the three methods as a generated stub does."""

    def __init__(self, channel: aio.Channel) -> None:
        path = "/agent.AgentService/"
        self.query = channel.unary_unary(path + "Query", pb.QueryRequest.SerializeToString, pb.QueryResponse.FromString)
        self.stream = channel.unary_stream(path + "StreamQuery", pb.QueryRequest.SerializeToString, pb.QueryChunk.FromString)
        self.batch = channel.unary_unary(
            path + "BatchQuery", pb.BatchQueryRequest.SerializeToString, pb.BatchQueryResponse.FromString
        )


@pytest.fixture
async def server(served: Served) -> AsyncIterator[GrpcServer]:
    desk = served.app.state.desk
    tags = TagRules([TagRule(name="experiment", header="x-tag-experiment")])
    service = AgentService(desk, Entrance(Access(USERS, {}, keyless=False), tags), answer_timeout_s=5.0)
    async with serving(service, host="127.0.0.1", port=0, max_message_bytes=131_072) as server:
        yield server


@pytest.fixture
async def channel(server: GrpcServer) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def client(channel: aio.Channel) -> Client:
    return Client(channel)


def trailer(error: aio.AioRpcError, name: str) -> str | None:
    return next((str(value) for key, value in error.trailing_metadata() or () if key == name), None)


@pytest.mark.row("S7", part="query")
async def test_question_is_answered_with_its_sources(client: Client) -> None:
    answer = await client.query(pb.QueryRequest(query="How long?"), metadata=EMMA, timeout=10)

    assert answer.answer == "You asked: How long?"
    assert (answer.confidence, answer.model, answer.stop_reason) == ("high", "simulated", "completed")
    assert [(source.id, source.document) for source in answer.sources] == [("vpn-1", "vpn")]
    assert answer.sources[0].uri == "/api/v1/documents/vpn?at=0-25"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.session_id


@pytest.mark.row("D3", part="runs")
async def test_tags_come_as_metadata_too(client: Client, served: Served) -> None:
    metadata = (*EMMA, ("x-request-id", "call-1"), ("x-tag-experiment", "b"), ("baggage", "other=c"))

    await client.query(pb.QueryRequest(query="How long?"), metadata=metadata, timeout=10)

    (row,) = await served.store.journal.runs("acme", request_id="call-1")
    assert dict((await started(served, row.run_id)).tags) == {"experiment": "b"}


@pytest.mark.row("S7", part="stream")
async def test_answer_comes_in_pieces_and_the_last_message_is_all_of_it(client: Client) -> None:
    chunks = [chunk async for chunk in client.stream(pb.QueryRequest(query="Hi"), metadata=EMMA, timeout=10)]

    assert "".join(chunk.chunk for chunk in chunks) == "You asked: Hi"
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].response.answer == "You asked: Hi"
    assert {chunk.id for chunk in chunks} == {chunks[-1].response.id}


@pytest.mark.row("S7", part="batch")
async def test_one_bad_question_of_a_batch_does_not_fail_the_others(client: Client) -> None:
    questions = [pb.QueryRequest(query=text) for text in ("one", "", "three")]

    batch = await client.batch(pb.BatchQueryRequest(requests=questions, concurrency=2), metadata=EMMA, timeout=10)

    assert [item.WhichOneof("outcome") for item in batch.items] == ["response", "error", "response"]
    assert batch.items[2].response.answer == "You asked: three"
    assert batch.items[1].error.code == "invalid_input"


@pytest.mark.row("S7", part="scopes")
@pytest.mark.parametrize("method", [method.name for method in pb.DESCRIPTOR.services_by_name["AgentService"].methods])
async def test_every_method_declares_its_scope_and_lets_in_nobody_without(channel: aio.Channel, method: str) -> None:
    path = f"agent.AgentService/{method}"
    call = channel.unary_unary(f"/{path}")

    with pytest.raises(aio.AioRpcError) as caught:
        await call(b"", metadata=(("x-api-key", KEYS["omar"]),), timeout=10)

    assert SCOPES[path] == ("chat",)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.row("S7", part="scopes")
async def test_method_that_declares_no_scope_lets_in_nobody(served: Served) -> None:
    entrance = Entrance(Access(USERS, {}, keyless=False))

    class Undeclared(AgentService):
        async def query(self, request: bytes, context: Any) -> pb.QueryResponse:
            async with entrance.admitted(context, "agent.AgentService/Forgotten"):
                return pb.QueryResponse()

    service = Undeclared(served.app.state.desk, entrance, answer_timeout_s=5.0)
    async with (
        serving(service, host="127.0.0.1", port=0, max_message_bytes=10_000) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        with pytest.raises(aio.AioRpcError) as caught:
            await Client(channel).query(pb.QueryRequest(query="Hi"), metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("metadata", "status", "code"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
        ((("authorization", "Bearer qd_wrong"),), grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
        ((("authorization", f"Basic {KEYS['emma']}"),), grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
        ((*EMMA, ("x-api-key", "qd_other")), grpc.StatusCode.INVALID_ARGUMENT, "invalid_input"),
        ((("x-api-key", KEYS["omar"]),), grpc.StatusCode.PERMISSION_DENIED, "forbidden"),
    ],
    ids=["no key", "wrong key", "wrong scheme", "two keys", "no scope"],
)
async def test_nobody_is_let_in_without_key_and_scope(client: Client, metadata: Any, status: Any, code: str) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(pb.QueryRequest(query="Hi"), metadata=metadata, timeout=10)

    assert caught.value.code() is status
    assert trailer(caught.value, "error-code") == code
    assert trailer(caught.value, "x-request-id")


@pytest.mark.parametrize(
    "request_",
    [
        pb.QueryRequest(query=" "),
        pb.QueryRequest(query="Hi", session_id="../etc"),
        pb.QueryRequest(query="Hi", agent_id="nobody"),
        pb.QueryRequest(query="Hi", options={"colour": "red"}),
        pb.QueryRequest(query="Hi", options={"timeout_s": "nan"}),
        pb.QueryRequest(query="Hi", options={"on_cancel": "explode"}),
        pb.QueryRequest(query="Hi", idempotency_key="with space"),
        pb.QueryRequest(query="字" * 30_000),
    ],
    ids=["empty", "session", "agent", "option", "timeout", "on_cancel", "key", "long"],
)
async def test_what_cannot_be_answered_is_an_invalid_argument(client: Client, request_: pb.QueryRequest) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(request_, metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.row("O2", part="grpc")
async def test_calls_are_counted_by_method_and_status_and_who_is_sent_away_by_the_reason(served: Served) -> None:
    metrics = Metrics()
    rule = LimitRule(scope="route", names=("agent.AgentService/Query",), rate=Rate(amount=1, window_s=60))
    entrance = Entrance(Access(USERS, {}, keyless=False), rates=RateLimits((rule,), MemoryLimits()), metrics=metrics)
    service = AgentService(served.app.state.desk, entrance, answer_timeout_s=5.0)
    async with (
        serving(service, host="127.0.0.1", port=0, max_message_bytes=131_072) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        client = Client(channel)
        await client.query(pb.QueryRequest(query="Hi"), metadata=EMMA, timeout=10)
        for metadata in (EMMA, ()):
            with pytest.raises(aio.AioRpcError):
                await client.query(pb.QueryRequest(query="Hi"), metadata=metadata, timeout=10)

    lines = metrics.rendered()[0].decode().splitlines()

    told = 'quarterdeck_grpc_calls_total{method="agent.AgentService/Query",status="%s"} 1.0'
    assert all(told % status in lines for status in ("OK", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"))
    assert 'quarterdeck_grpc_call_seconds_count{method="agent.AgentService/Query"} 3.0' in lines
    assert 'quarterdeck_sent_away_total{reason="rate_limit",transport="grpc"} 1.0' in lines


async def test_metadata_that_may_stand_once_are_refused_when_they_stand_twice(client: Client) -> None:
    other = ("authorization", f"Bearer {KEYS['gil']}")

    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(pb.QueryRequest(query="Hi"), metadata=(*EMMA, other), timeout=10)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "authorization" in str(caught.value.details())


async def test_message_that_is_too_large_is_refused_before_it_is_read(client: Client) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(pb.QueryRequest(query="x" * 200_000), metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["Query", "StreamQuery", "BatchQuery"])
@pytest.mark.parametrize(
    ("metadata", "status"),
    [(EMMA, grpc.StatusCode.INVALID_ARGUMENT), ((), grpc.StatusCode.UNAUTHENTICATED)],
    ids=["known", "stranger"],
)
async def test_bytes_that_are_no_message_are_refused_and_leave_no_trace_of_a_crash(
    channel: aio.Channel, caplog: pytest.LogCaptureFixture, method: str, metadata: Any, status: Any
) -> None:
    call = channel.unary_stream("/agent.AgentService/" + method)(b"\xff\xff\xff", metadata=metadata, timeout=10)

    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter(call))

    assert caught.value.code() is status
    assert trailer(caught.value, "x-request-id") is not None
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def cut_by_its_deadline(served: Served) -> None:
    """End the one run there will be as a worker does whose time is over."""
    while not (runs := await served.store.journal.runs("acme")):
        await anyio.sleep(0.005)
    claim = await served.store.journal.claim("acme", runs[0].run_id)
    assert claim is not None
    answer = Answer(text="The run stopped early.", confidence=Confidence.LOW)
    final = FinalAnswer(answer=answer, stop_reason=StopReason.TIME_LIMIT, label=served.worker.label)
    appended = await served.store.journal.append(claim, [Entry(event=final)], folded=claim.head, status=RunStatus.DONE)
    await served.worker.hub.stored("acme", runs[0].run_id, appended.entries)


@pytest.mark.row("S7", part="deadline")
async def test_a_run_that_the_deadline_ended_is_told_as_late_and_not_as_an_answer(client: Client, served: Served) -> None:
    served.worker.gate = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_by_its_deadline, served)
        with pytest.raises(aio.AioRpcError) as caught:
            await client.query(pb.QueryRequest(query="Later"), metadata=EMMA, timeout=0.4)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailer(caught.value, "run-id") is not None


@pytest.mark.row("S7", part="deadline")
async def test_a_stream_whose_run_the_deadline_ended_has_no_last_message(client: Client, served: Served) -> None:
    served.worker.gate = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_by_its_deadline, served)
        call = client.stream(pb.QueryRequest(query="Later"), metadata=EMMA, timeout=0.4)
        with pytest.raises(aio.AioRpcError) as caught:
            assert [part async for part in call if part.is_final] == []

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.row("S7", part="deadline")
async def test_run_outlives_the_deadline_of_its_caller_and_is_found_again(client: Client, served: Served) -> None:
    served.worker.gate = anyio.Event()
    request = pb.QueryRequest(query="Later", idempotency_key="k-1")

    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(request, metadata=EMMA, timeout=0.5)
    served.worker.gate.set()
    answer = await client.query(request, metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert answer.answer == "You asked: Later"


async def test_the_time_a_caller_gives_ends_the_call_with_the_id_of_the_run(client: Client, served: Served) -> None:
    served.worker.gate = anyio.Event()

    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(pb.QueryRequest(query="Later", options={"timeout_s": "0.05"}), metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await served.store.journal.find("acme", trailer(caught.value, "run-id") or "") is not None


@pytest.mark.row("S13", part="streams at the stop")
async def test_a_server_that_stops_ends_streams_as_unavailable_and_lets_those_who_wait_have_their_answer(
    client: Client, served: Served
) -> None:
    served.worker.gate = anyio.Event()
    waiting = client.query(pb.QueryRequest(query="Later"), metadata=EMMA, timeout=10)
    streaming = client.stream(pb.QueryRequest(query="Later"), metadata=EMMA, timeout=10)
    while len(await served.store.journal.runs("acme")) < 2:
        await anyio.sleep(0.005)

    served.worker.hub.cut_streams()
    with pytest.raises(aio.AioRpcError) as caught:
        assert [part async for part in streaming] == []
    served.worker.gate.set()

    assert (await waiting).answer == "You asked: Later"
    assert (caught.value.code(), trailer(caught.value, "error-code")) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
    assert trailer(caught.value, "run-id") is not None


@pytest.mark.row("S7", part="cancel")
@pytest.mark.parametrize(("on_cancel", "cancelled"), [("cancel", True), ("detach", False)])
async def test_caller_that_goes_away_cancels_or_leaves_the_run_as_it_asked(
    client: Client, served: Served, on_cancel: str, cancelled: bool
) -> None:
    served.worker.gate = anyio.Event()
    call = client.query(pb.QueryRequest(query="Later", options={"on_cancel": on_cancel}), metadata=EMMA)
    with anyio.fail_after(10):
        while not (runs := await served.store.journal.runs("acme")):
            await anyio.sleep(0.005)

    call.cancel()

    async def kinds() -> list[str]:
        return [entry.event.kind async for entry in served.store.journal.read("acme", runs[0].run_id)]

    if cancelled:
        with anyio.fail_after(10):
            while "cancel_requested" not in await kinds():
                await anyio.sleep(0.005)
    else:
        served.worker.gate.set()
        with anyio.fail_after(10):
            while (await served.store.journal.runs("acme"))[0].status is not RunStatus.DONE:
                await anyio.sleep(0.005)
        assert "cancel_requested" not in await kinds()


class Forgetful(Access):
    """Knows nobody any more, of those it let in."""

    async def current(self, principal: Principal) -> Principal | None:
        return None


@pytest.mark.row("S9", part="open streams")
async def test_call_ends_when_its_caller_may_listen_no_longer(served: Served) -> None:
    served.worker.gate = anyio.Event()
    access = Forgetful(USERS, {}, keyless=False)
    service = AgentService(served.app.state.desk, Entrance(access, stays=Stays(access, every_s=0.05)), answer_timeout_s=30.0)

    async with (
        serving(service, host="127.0.0.1", port=0, max_message_bytes=10_000) as server,
        aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = Client(channel).stream(pb.QueryRequest(query="Later"), metadata=EMMA, timeout=20)
        with pytest.raises(aio.AioRpcError) as caught:
            assert [part async for part in call if part.is_final] == []

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.row("S7", part="health")
async def test_health_is_told_by_the_service_every_client_knows(channel: aio.Channel, server: GrpcServer) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    before = await health.Check(health_pb2.HealthCheckRequest(service="agent.AgentService"), timeout=10)
    await server.drain()
    after = await health.Check(health_pb2.HealthCheckRequest(service="agent.AgentService"), timeout=10)

    assert before.status == health_pb2.HealthCheckResponse.SERVING
    assert after.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_port_that_is_taken_is_a_mistake_of_the_configuration(server: GrpcServer, served: Served) -> None:
    service = AgentService(served.app.state.desk, Entrance(Access(USERS, {}, keyless=False)), answer_timeout_s=5.0)

    with pytest.raises(Misconfigured, match="cannot listen on"):
        async with serving(service, host="127.0.0.1", port=server.port, max_message_bytes=1_000):
            pass


def test_every_error_there_is_stands_on_the_page_with_its_status() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "grpc.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", page, re.MULTILINE)

    assert {code: status for status, codes in rows for code in re.findall(r"`(\w+)`", codes)} == {
        code: status.name for code, status in STATUS.items()
    }


def test_every_error_there_is_has_a_status() -> None:
    only_http = {
        "bad_request", "malformed_json", "duplicate_key", "unknown_host", "foreign_origin", "method_not_allowed",
        "request_timeout", "unsupported_media_type", "headers_too_large",
    }  # fmt: skip

    assert set(STATUS) == set(http_errors.STATUS) - only_http


async def test_what_broke_inside_is_not_told(client: Client, served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.app.state.desk._journal = None  # whatever a defect does

    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(pb.QueryRequest(query="Hi"), metadata=EMMA, timeout=10)

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "NoneType" not in (caught.value.details() or "")
    assert "call crashed" in caplog.text


@pytest.mark.parametrize(("code", "is_told"), [("misconfigured", False), ("model_refused", True)])
async def test_of_a_run_that_failed_a_call_is_told_what_http_tells(
    client: Client, served: Served, caplog: pytest.LogCaptureFixture, code: str, is_told: bool
) -> None:
    served.worker.failure = RunFailed(code=code, error="see /etc/prices")
    asked = pb.QueryRequest(query="Hi")

    with pytest.raises(aio.AioRpcError) as caught:
        await client.query(asked, metadata=EMMA, timeout=10)
    batch = await client.batch(pb.BatchQueryRequest(requests=[asked]), metadata=EMMA, timeout=10)

    assert trailer(caught.value, "error-code") == batch.items[0].error.code == code
    assert ("/etc/prices" in (caught.value.details() or ""), "/etc/prices" in batch.items[0].error.message) == (is_told,) * 2
    assert is_told or caplog.text.count("see /etc/prices") >= 2
