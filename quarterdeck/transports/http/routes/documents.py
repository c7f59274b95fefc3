"""Documents: brought in, listed, opened at a place, given to other groups, removed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from quarterdeck.core.errors import InvalidInput
from quarterdeck.service.documents import Begun, Documents, Requested
from quarterdeck.service.orders import Upload
from quarterdeck.transports.http.callers import DocumentOpener, DocumentReader, DocumentWriter
from quarterdeck.transports.http.document_bodies import (
    DocumentBegun,
    DocumentBody,
    DocumentList,
    DocumentRow,
    DocumentUpload,
    EditionList,
    GroupsRequest,
    ImportRequest,
    edition_row,
    place_body,
    place_in,
    row_of,
)
from quarterdeck.transports.http.document_page import document_page, prefers_page
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.shapes import PROBLEMS
from quarterdeck.transports.http.wire import ControlRoute, Json, parsed_once

__all__ = ["UPLOADS", "router"]

router = APIRouter(route_class=ControlRoute, tags=["documents"], responses=PROBLEMS)

UPLOADS = "/api/v1/documents"
"""The path whose bodies are files of any kind."""

DocumentId = Annotated[str, Path(pattern=r"^[^/\x00-\x1f\x7f]{1,256}$")]
_MAX_COMMAS = 10_000_000  # in a body that holds a whole text; its fields are few whatever it says
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": DocumentBegun, "description": "Begun; it goes on by itself and can be followed as a run."}
}
_FILE = {
    "requestBody": {
        "required": True,
        "description": "JSON, or the bytes of a file as they are with its name in the address.",
        "content": {
            "application/json": {"schema": DocumentUpload.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post(UPLOADS, status_code=202, responses=_ACCEPTED, openapi_extra=_FILE)
async def upload(
    request: Request,
    caller: DocumentWriter,
    name: Annotated[str | None, Query(max_length=400, description="File name, of a body that is no JSON.")] = None,
    title: Annotated[str, Query(max_length=200)] = "",
    groups: Annotated[list[str] | None, Query(max_length=100)] = None,
    id: Annotated[str | None, Query(pattern=r"^[a-z0-9_-]{1,64}$", description="The document it replaces.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Bring a document in, or another edition of it."""
    desk: Documents = request.app.state.documents
    body = await request.body()
    if name is None:
        sent = _sent(body)
        given = Upload(name=sent.name, data=_bytes(sent), title=sent.title, doc_id=sent.id)
        begun = await desk.upload(caller, given, sent.groups, _asked(request, idempotency_key))
    else:
        given = Upload(name=name, data=body, title=title, doc_id=id)
        begun = await desk.upload(caller, given, groups, _asked(request, idempotency_key))
    return _begun(request, begun)


@router.post("/api/v1/documents/import", status_code=202, responses=_ACCEPTED)
async def fetch(
    request: Request, caller: DocumentWriter, body: ImportRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Bring in what stands at addresses, or for operators a folder of the configuration."""
    desk: Documents = request.app.state.documents
    asked = _asked(request, idempotency_key)
    if body.collection is not None:
        if body.urls or body.groups is not None:
            raise InvalidInput("a collection has its own documents and groups: send nothing else with it")
        return _begun(request, await desk.synchronise(caller, body.collection, asked))
    if not body.urls:
        raise InvalidInput("send addresses as urls, or a collection")
    return _begun(request, await desk.fetch(caller, body.urls, body.groups, asked))


@router.get(UPLOADS, responses={200: {"model": DocumentList}})
async def documents(
    request: Request,
    caller: DocumentReader,
    after: Annotated[str, Query(max_length=256, description="A document id to go on from.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    """The documents one may read, by id, without their texts."""
    desk: Documents = request.app.state.documents
    found = await desk.readable(caller, after=after, limit=limit)
    following = found[-1].id if len(found) == limit else None
    return Json({"documents": [row_of(document) for document in found], "next": following})


@router.get(
    "/api/v1/documents/{doc_id}",
    responses={
        200: {
            "model": DocumentBody,
            "content": {"text/html": {"schema": {"type": "string"}}},
            "description": "JSON, or a page for browsers.",
        }
    },
)
async def document(
    request: Request,
    caller: DocumentOpener,
    doc_id: DocumentId,
    at: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}-[0-9]{1,9}$", description="Span of a passage, START-END.")] = None,
    edition: Annotated[int | None, Query(ge=1, le=1_000_000_000, description="Another than the present one.")] = None,
) -> Response:
    """A document one may read, with the place of a passage in it."""
    desk: Documents = request.app.state.documents
    found = await desk.open(caller, doc_id, edition=edition)
    place = None if at is None else place_in(found, at)
    headings = await desk.headings(caller, found, *place) if place else ()
    if prefers_page(request.headers.get("accept", "")):
        return document_page(found, place, headings)
    body: dict[str, Any] = {**row_of(found), "text": found.text}
    if place is not None:
        body["passage"] = place_body(found, *place, headings)
    return Json(body, headers={"Vary": "Accept"})


@router.get("/api/v1/documents/{doc_id}/editions", responses={200: {"model": EditionList}})
async def editions(request: Request, caller: DocumentReader, doc_id: DocumentId) -> Response:
    """The texts a document had, newest first."""
    desk: Documents = request.app.state.documents
    return Json({"editions": [edition_row(edition) for edition in await desk.editions(caller, doc_id)]})


@router.put("/api/v1/documents/{doc_id}/groups", responses={200: {"model": DocumentRow}})
async def set_groups(request: Request, caller: DocumentWriter, doc_id: DocumentId, body: GroupsRequest) -> Response:
    """Open a document to these groups and to no others, from now on."""
    desk: Documents = request.app.state.documents
    return Json(row_of(await desk.set_groups(caller, doc_id, body.groups)))


@router.delete("/api/v1/documents/{doc_id}", status_code=204, response_class=Response)
async def delete(request: Request, caller: DocumentWriter, doc_id: DocumentId) -> Response:
    """Forget a document with all its editions."""
    desk: Documents = request.app.state.documents
    await desk.delete(caller, doc_id)
    return Response(status_code=204)


def _sent(body: bytes) -> DocumentUpload:
    try:
        return DocumentUpload.model_validate(parsed_once(body, _MAX_COMMAS))
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error


def _bytes(sent: DocumentUpload) -> bytes:
    if (sent.text is None) == (sent.base64 is None):
        raise InvalidInput("send the document as text or as base64, one of the two")
    if sent.text is not None:
        return sent.text.encode("utf-8", "replace")
    try:
        return base64.b64decode(sent.base64 or "", validate=True)
    except binascii.Error as error:
        raise InvalidInput("base64: it is not base64") from error


def _asked(request: Request, key: str | None) -> Requested:
    return Requested(
        idempotency_key=checked(key),
        request_id=request.state.request_id,
        trace_id=request.state.trace_id,
        span_id=request.state.span_id,
        tags=request.state.tags,
    )


def _begun(request: Request, begun: Begun) -> Response:
    request.state.run_id = begun.run_id
    documents: Collection[dict[str, str]] = [{"name": name, "id": doc_id} for name, doc_id in begun.documents]
    body = {"run_id": begun.run_id, "status": "ready", "documents": documents}
    return Json(body, status_code=202, headers={"Location": f"/api/v1/runs/{begun.run_id}"})
