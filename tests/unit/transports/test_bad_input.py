"""The catalogue of bad input, as far as HTTP goes: each line a clear 4xx with a stable code, and the worker lives on."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from quarterdeck.core import errors
from quarterdeck.telemetry.tags import TagRules
from quarterdeck.transports.http.errors import STATUS
from quarterdeck.transports.http.guards import BoundedBody, Envelope

from .conftest import KEYS, Served, exchange

MEBI = 1 << 20


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        pytest.param(b'{"message": "' + b"a" * MEBI + b'"}', 413, "too_large", id="1: larger than 1 MiB"),
        pytest.param(b'{"message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "malformed_json", id="5: depth"),
        pytest.param(b'{"message": ' + b"[" * 65 + b"]" * 65 + b"}", 400, "malformed_json", id="5: just too deep"),
        pytest.param(b'{"message": [' + b"1," * 200_000 + b"1]}", 422, "invalid_input", id="6: many elements"),
        pytest.param(b'{"message": NaN}', 400, "malformed_json", id="8: NaN"),
        pytest.param(b'{"message": 1e999}', 400, "malformed_json", id="8: infinite"),
        pytest.param(b'{"message": ' + b"9" * 5000 + b"}", 400, "malformed_json", id="8: long integer"),
        pytest.param(b'{"message": "\xff"}', 400, "malformed_json", id="9: not UTF-8"),
        pytest.param(b'{"message": "\\ud800"}', 400, "malformed_json", id="10: lone surrogate"),
        pytest.param(b'{"message": "hi"', 400, "malformed_json", id="not closed"),
        pytest.param(b'{"message": ""}', 422, "invalid_input", id="12: empty"),
        pytest.param(b'{"message": " \\t\\n"}', 422, "invalid_input", id="12: spaces"),
        pytest.param('{"message": "\u200b\u2060\ufeff"}'.encode(), 422, "invalid_input", id="12: zero-width"),
        pytest.param('{"message": "\u115f\u3164\u2800"}'.encode(), 422, "invalid_input", id="12: letters drawn as nothing"),
        pytest.param(b'{"message": "\\u0000"}', 422, "invalid_input", id="11: only NUL"),
        pytest.param(b'{"message": "hi", "admin": true}', 422, "invalid_input", id="14: unknown field"),
        pytest.param(b'{"message": "hi", "tenant": "globex"}', 422, "invalid_input", id="tenant in the body"),
        pytest.param(b'{"message": ["hi"]}', 422, "invalid_input", id="15: wrong type"),
        pytest.param(b'{"message": 5}', 422, "invalid_input", id="15: number for text"),
        pytest.param(b'{"message": "hi", "history": []}', 422, "invalid_input", id="16: history"),
        pytest.param(b'{"message": "hi", "session_id": "../../etc"}', 422, "invalid_input", id="19: path as id"),
        pytest.param(b'{"message": "hi", "session_id": "a\\u0000"}', 422, "invalid_input", id="11: NUL in id"),
        pytest.param(b'{"message": "hi", "session_id": "nope"}', 404, "not_found", id="unknown session"),
        pytest.param(b'{"message": "hi", "agent": "nope"}', 422, "invalid_input", id="unknown agent"),
        pytest.param(b"[]", 422, "invalid_input", id="no object"),
        pytest.param(b"null", 422, "invalid_input", id="null"),
        pytest.param(b"", 422, "invalid_input", id="no body"),
    ],
)
async def test_chat_refuses_a_bad_body(served: Served, raw: bytes, status: int, code: str) -> None:
    reply = await served.send("POST", "/chat", raw=raw)

    assert (reply.status, reply.code) == (status, code)
    assert reply.json["error"]["request_id"] == reply.headers["x-request-id"]
    assert (await served.send("POST", "/chat", {"message": "Still there?"})).status == 200


async def test_prompt_that_fits_no_window_is_refused_before_a_model_is_asked(served: Served) -> None:
    reply = await served.send("POST", "/chat", {"message": "word " * 100_000})

    assert (reply.status, reply.code) == (413, "context_too_large")
    assert await served.store.journal.runs("acme") == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"content-type": ""}, 415, "unsupported_media_type"),
        ({"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"host": "evil.example"}, 400, "unknown_host"),
        ({"host": "127.0.0.1/x?y#z"}, 400, "unknown_host"),
        ({"host": ""}, 400, "unknown_host"),
        ({"origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"origin": "null"}, 403, "foreign_origin"),
        ({"cookie": "a" * 65_536}, 431, "headers_too_large"),
        ({"idempotency-key": "k" * 10_000}, 422, "invalid_input"),
        ({"idempotency-key": "a b"}, 422, "invalid_input"),
        ({"authorization": "Bearer nonsense"}, 401, "unauthenticated"),
        ({"authorization": "Bearer ' OR '1'='1"}, 401, "unauthenticated"),
        ({"authorization": "Basic ZW1tYTo="}, 401, "unauthenticated"),
        ({"x-forwarded-for": "127.0.0.1"}, 401, "unauthenticated"),
        ({"forwarded": "for=127.0.0.1"}, 401, "unauthenticated"),
        ({"sec-fetch-site": "cross-site"}, 401, "unauthenticated"),
        ({"sec-fetch-site": "same-site"}, 401, "unauthenticated"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_chat_refuses_bad_headers(served: Served, headers: dict[str, str], status: int, code: str) -> None:
    reply = await served.send("POST", "/chat", {"message": "hi"}, headers=headers)

    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "x-api-key",
        "idempotency-key",
        "last-event-id",
        "content-type",
        "x-request-deadline",
        "x-lane",
        "host",
    ],
)
async def test_header_that_may_stand_once_is_refused_when_it_stands_twice(served: Served, name: str) -> None:
    reply = await served.send("POST", "/chat", {"message": "hi"}, also=[(name, "a"), (name, "b")])

    assert (reply.status, reply.code) == (400, "bad_request")
    assert name in reply.json["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer qd_1", "x-api-key": "qd_2"},
        {"authorization": "Basic ZW1tYTo=", "x-api-key": "qd_2"},
    ],
)
async def test_two_credentials_in_one_request_are_refused(served: Served, headers: dict[str, str]) -> None:
    reply = await served.send("POST", "/chat", {"message": "hi"}, headers=headers)

    assert (reply.status, reply.code) == (400, "bad_request")
    assert "Authorization and X-API-Key" in reply.json["error"]["message"]


async def test_one_credential_may_be_sent_in_both_ways(served: Served) -> None:
    reply = await served.send("GET", "/api/v1/runs", headers={"authorization": "Bearer qd_1", "x-api-key": "qd_1"})

    assert (reply.status, reply.code) == (401, "unauthenticated")  # which nobody has


@pytest.mark.parametrize(
    "path", ["/api/v1/runs?limit=1&limit=2", "/api/v1/query?query=hi&query=ho", "/api/v1/runs?limit=1&limit=1"]
)
async def test_a_parameter_that_says_one_thing_is_refused_when_it_says_two(served: Served, path: str) -> None:
    reply = await served.send("GET", path)

    assert (reply.status, reply.code) == (422, "invalid_input")
    assert "stands there 2 times" in reply.json["error"]["message"]


@pytest.mark.parametrize("name", ["traceparent", "x-request-id", "accept", "x-tag-experiment"])
async def test_other_headers_may_stand_twice(served: Served, name: str) -> None:
    reply = await served.send("POST", "/chat", {"message": "hi"}, also=[(name, "a"), (name, "b")])

    assert reply.status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/runs?limt=1", None),
        ("GET", "/api/v1/runs?limit=1&Limit=2", None),
        ("GET", "/api/v1/query?query=hi&stream=1", None),
        ("POST", "/api/v1/session/?agent_id=support", {}),
        ("POST", "/chat?token=qd_x", {"message": "hi"}),
    ],
)
async def test_parameter_of_an_address_that_nobody_knows_is_refused(
    served: Served, method: str, path: str, body: Any
) -> None:
    reply = await served.send(method, path, body)

    assert (reply.status, reply.code) == (422, "invalid_input")
    assert "unknown parameter" in reply.json["error"]["message"]
    assert not await served.store.journal.runs("acme")


@pytest.mark.parametrize("given", ["%FF", "stra%DFe", "%ED%A0%80", "a%C3"])
async def test_parameter_of_an_address_that_is_no_text_is_refused(served: Served, given: str) -> None:
    asked = await served.send("GET", f"/api/v1/query?query={given}")
    begun = await served.send("GET", f"/api/v1/agent/stream?query={given}")

    assert [(reply.status, reply.code) for reply in (asked, begun)] == [(422, "invalid_input")] * 2
    assert "not UTF-8" in asked.json["error"]["message"]
    assert not await served.store.journal.runs("acme")


async def test_who_is_not_let_in_is_told_nothing_of_parameters(served: Served) -> None:
    reply = await served.send("GET", "/api/v1/runs?limt=1", key="qd_" + "0" * 64)

    assert (reply.status, reply.code) == (401, "unauthenticated")


@pytest.mark.parametrize("path", ["/health?t=1", "/ready?t=1", "/openapi.json?v=2"])
async def test_what_needs_no_key_is_answered_whatever_the_address_adds(served: Served, path: str) -> None:
    assert (await served.send("GET", path)).status == 200


async def test_openai_clients_are_told_which_parameters_are_ignored(served: Served) -> None:
    asked = {"model": "support", "messages": [{"role": "user", "content": "hi"}], "seed": 1}

    reply = await served.send("POST", "/v1/chat/completions?api-version=2025-01-01&a%20b=1", asked)
    listed = await served.send("GET", "/v1/models?limit=5")

    assert (reply.status, reply.headers["x-quarterdeck-warning"]) == (200, "ignored: seed, api-version")
    assert (listed.status, listed.headers["x-quarterdeck-warning"]) == (200, "ignored: limit")


async def test_call_without_a_key_from_another_machine_is_refused(served: Served) -> None:
    reply = await served.send("POST", "/chat", {"message": "hi"}, client="10.0.0.7")

    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("given", ["../../x", "a" * 200, "a\x7fb", "a b"])
async def test_malformed_ids_of_requests_and_traces_are_replaced(served: Served, given: str) -> None:
    kept = await served.send("GET", "/health", headers={"x-request-id": "abc-1.2_3"})
    replaced = await served.send("GET", "/health", headers={"x-request-id": given, "traceparent": given, "baggage": given})

    assert kept.headers["x-request-id"] == "abc-1.2_3"
    assert replaced.status == 200
    assert replaced.headers["x-request-id"] != given


@pytest.mark.parametrize("run_id", ["%2e%2e", "a%00", "A" * 10, "a" * 65, "a" * 10_000])
async def test_malformed_id_in_a_path_is_refused(served: Served, run_id: str) -> None:
    from urllib.parse import unquote

    reply = await served.send("GET", f"/api/v1/runs/{unquote(run_id)}")

    assert (reply.status, reply.code) == (422, "invalid_input")


async def test_key_that_stands_twice_is_refused_where_something_is_decided(served: Served) -> None:
    raw = b'{"approved": false, "approved": true}'

    reply = await served.send("POST", "/api/v1/approvals/abc/decisions", raw=raw, key=KEYS["omar"])

    assert (reply.status, reply.code) == (400, "duplicate_key")


@pytest.mark.parametrize("body", [{"approved": "yes"}, {"approved": 1}, {"approved": True, "by": "omar"}, {}])
async def test_decision_is_not_guessed_from_other_types(served: Served, body: Any) -> None:
    reply = await served.send("POST", "/api/v1/approvals/abc/decisions", body, key=KEYS["omar"])

    assert (reply.status, reply.code) == (422, "invalid_input")


async def test_hidden_characters_leave_the_question_and_others_stay_to_the_letter(served: Served) -> None:
    text = "a\x00b\u202ec\U000e0041d 你好 👩‍👩‍👧 مرحبا"

    reply = await served.send("POST", "/chat", {"message": text})

    assert reply.json["answer"] == "You asked: abcd 你好 👩‍👩‍👧 مرحبا"


async def test_body_that_does_not_arrive_in_time_is_answered_408() -> None:
    app = Envelope(BoundedBody(_unreachable, max_bytes=10, timeout_s=0.01), TagRules())
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": "/chat", "headers": [(b"host", b"x")]}, receive, send)

    assert sent[0]["status"] == 408


async def test_size_is_counted_on_the_stream_whatever_was_announced() -> None:
    app = Envelope(BoundedBody(_unreachable, max_bytes=10, timeout_s=5), TagRules())
    pieces = iter([b"12345678", b"12345678"])
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"x"), (b"content-length", b"5"), (b"content-type", b"application/json")]
    await app({"type": "http", "method": "POST", "path": "/chat", "headers": headers}, receive, send)

    assert sent[0]["status"] == 413


async def test_crash_shows_the_client_an_id_and_nothing_of_the_inside() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("password=hunter2")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    reply = await exchange(Envelope(broken, TagRules()), scope, b"")

    assert (reply.status, reply.code) == (500, "internal")
    assert "hunter2" not in reply.body.decode()
    assert reply.json["error"]["request_id"] in reply.json["error"]["message"]


def test_every_error_code_has_a_status() -> None:
    kinds = [errors.QuarterdeckError]
    codes: set[str] = set()
    while kinds:
        kind = kinds.pop()
        codes |= {kind.code} if kind.__module__ == errors.__name__ else set()
        kinds += kind.__subclasses__()

    assert codes - STATUS.keys() == set()


async def test_interface_is_described_as_openapi(served: Served) -> None:
    reply = await served.send("GET", "/openapi.json")

    document = json.loads(reply.body)
    assert document["openapi"].startswith("3.1")
    assert "message" in document["components"]["schemas"]["ChatRequest"]["properties"]


async def test_description_says_which_routes_want_a_key(served: Served) -> None:
    paths = (await served.send("GET", "/openapi.json")).json["paths"]

    open_to_all = {path for path, methods in paths.items() for told in methods.values() if "security" not in told}

    assert open_to_all == {"/health", "/ready", "/openapi.json"}


async def _unreachable(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the application was reached")
