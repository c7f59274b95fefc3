"""The bodies of what is said about documents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.base import Document, Edition
from quarterdeck.transports.http.shapes import Id

__all__ = [
    "DocumentBegun",
    "DocumentBody",
    "DocumentList",
    "DocumentRow",
    "DocumentUpload",
    "EditionList",
    "GroupsRequest",
    "ImportRequest",
    "edition_row",
    "place_body",
    "place_in",
    "row_of",
]

AROUND = 400  # characters shown before and after a place
Group = Annotated[str, StringConstraints(min_length=1, max_length=133)]
Groups = Annotated[list[Group], Field(max_length=100)]
_READERS = "Who may read it, of the groups one reads with; `user:<id>` is one person. Without: a new document is one's own."


class _Request(BaseModel):
    """A body from outside: nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DocumentUpload(_Request):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"name": "vpn.md", "text": "# VPN\n\nA session lasts 12 hours.", "groups": ["everyone"]}]
        },
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=400)] = Field(
        description="File name. Its ending tells kinds of plain text apart; the same name replaces what one sent before."
    )
    text: str | None = Field(None, description="The document as text; this or `base64`.")
    base64: str | None = Field(None, description="Its bytes as base64.")
    title: Annotated[str, StringConstraints(max_length=200)] = Field("", description="If it does not say one itself.")
    groups: Groups | None = Field(None, description=_READERS)
    id: Id | None = Field(None, description="The document it replaces; without one that of the same name, or a new one.")


class ImportRequest(_Request):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"urls": ["https://example.com/handbook.html"], "groups": ["everyone"]}]},
    )

    urls: Annotated[list[str], Field(max_length=1000)] = Field(
        default_factory=list, description="Public http(s) addresses, each a document."
    )
    groups: Groups | None = Field(None, description=_READERS)
    collection: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        None, description="In place of addresses: a folder of the configuration, for operators."
    )


class GroupsRequest(_Request):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"groups": ["hr"]}]})

    groups: Groups = Field(description="All that may read it from now on.")


class NamedDocument(BaseModel):
    name: str
    id: str


class DocumentBegun(BaseModel):
    run_id: str = Field(description="GET /api/v1/runs/{id} says how far it is, /events tells each document.")
    status: str
    documents: list[NamedDocument] = Field(description="Ids they will have, as far as known.")


class DocumentRow(BaseModel):
    id: str
    title: str
    uri: str
    groups: list[str]
    trusted: bool
    edition: int
    stored_at: datetime | None
    collection: str
    path: str


class DocumentList(BaseModel):
    documents: list[DocumentRow]
    next: str | None = Field(description="Send it as `after` for the next ones; null at the end.")


class Place(BaseModel):
    start: int
    end: int
    text: str
    before: str = Field(description="What stands before it.")
    after: str
    heading_path: list[str]


class DocumentBody(DocumentRow):
    text: str
    passage: Place | None = Field(None, description="The place that was asked for.")


class EditionBody(BaseModel):
    number: int
    title: str
    sha256: str
    characters: int
    stored_at: datetime


class EditionList(BaseModel):
    editions: list[EditionBody]


def row_of(document: Document) -> dict[str, Any]:
    """A document without its text."""
    return {
        "id": document.id,
        "title": document.title,
        "uri": document.uri,
        "groups": sorted(document.groups),
        "trusted": document.trusted,
        "edition": document.edition,
        "stored_at": document.stored_at,
        "collection": document.meta.get("collection", ""),
        "path": document.meta.get("path", ""),
    }


def edition_row(edition: Edition) -> dict[str, Any]:
    return {
        "number": edition.number,
        "title": edition.title,
        "sha256": edition.sha256,
        "characters": edition.characters,
        "stored_at": edition.stored_at,
    }


def place_in(document: Document, at: str) -> tuple[int, int]:
    """The span that ``START-END`` names. Raises InvalidInput if the document has no such place."""
    start, end = map(int, at.split("-"))
    if not start <= end <= len(document.text):
        raise InvalidInput(f"document {document.id} has {len(document.text)} characters; {at} lies outside")
    return start, end


def place_body(document: Document, start: int, end: int, headings: tuple[str, ...]) -> dict[str, Any]:
    """A place with what stands around it."""
    text = document.text
    return {
        "start": start,
        "end": end,
        "text": text[start:end],
        "before": text[max(0, start - AROUND) : start],
        "after": text[end : end + AROUND],
        "heading_path": list(headings),
    }
