"""The description of the interface: OpenAPI 3.1 that says of every answer what it is, with an example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from quarterdeck.transports.http.description import described
from quarterdeck.transports.http.examples import EXAMPLES

from .conftest import Served

# Described elsewhere, or whatever was declared: a stream, a page, a file, the description itself.
FREE = {("get", "/openapi.json")}


def _answers(document: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                yield method, path, status, answer


@pytest.mark.row("S14", part="described")
async def test_description_is_valid_openapi(served: Served) -> None:
    problems = [error.message for error in OpenAPIV31SpecValidator(described(served.app)).iter_errors()]

    assert problems == []


@pytest.mark.row("S14", part="described")
async def test_every_answer_says_what_it_is_and_shows_one(served: Served) -> None:
    document = described(served.app)
    schemas = document["components"]["schemas"]

    bare: list[str] = []
    for method, path, status, answer in _answers(document):
        content = answer.get("content", {})
        name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        told = "examples" in schemas.get(name, {}) or (content and "application/json" not in content) or status == "204"
        if not told and (method, path) not in FREE:
            bare.append(f"{method} {path} {status}")

    assert bare == []


@pytest.mark.row("S14", part="described")
async def test_every_kind_of_answer_has_a_schema(served: Served) -> None:
    shapeless = [
        f"{method} {path} {status} {kind}"
        for method, path, status, answer in _answers(described(served.app))
        for kind, content in answer.get("content", {}).items()
        if not content.get("schema")
    ]

    assert shapeless == []


async def test_every_route_says_how_it_fails(served: Served) -> None:
    document = described(served.app)

    silent = {
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not {"4XX", "5XX"} <= operation["responses"].keys()
    }

    assert silent == set()


async def test_every_example_is_what_its_model_says(served: Served) -> None:
    document = described(served.app)
    schemas = document["components"]["schemas"]

    wrong: list[str] = []
    for name in schemas.keys() & EXAMPLES.keys():
        judge = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
        wrong += [f"{name}: {error.json_path}: {error.message}" for error in judge.iter_errors(EXAMPLES[name])]

    assert wrong == []
    assert EXAMPLES.keys() - schemas.keys() == set()


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/v1/agents", "/api/v1/runs", "/openapi.json"])
async def test_head_is_answered_as_get_without_the_body(served: Served, path: str) -> None:
    whole = await served.send("GET", path)

    head = await served.send("HEAD", path)

    assert (head.status, head.body) == (whole.status, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


async def test_head_begins_no_run_and_ends_with_the_beginning_of_a_stream(served: Served) -> None:
    refused = [await served.send("HEAD", path) for path in ("/api/v1/query?query=hi", "/api/v1/agent/stream?query=hi")]
    run = (await served.send("POST", "/chat", {"message": "hi"})).json["run_id"]

    stream = await served.send("HEAD", f"/api/v1/runs/{run}/events")

    assert [reply.status for reply in refused] == [405, 405]
    assert len(await served.store.journal.runs("acme")) == 1
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
