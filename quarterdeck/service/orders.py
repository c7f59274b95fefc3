"""What a run that brings documents in is to do: kept as a blob, with all that it needs, so that it outlives its request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydantic import ConfigDict, TypeAdapter

from quarterdeck.core.errors import SchemaMismatch

__all__ = ["Folder", "Order", "Pages", "Upload", "decode", "encode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One document as it was sent.

    Attributes:
        name: Its file name; with the same name the same person replaces it.
        doc_id: The document it replaces; None for the one of that name, or a new one.
    """

    name: str
    data: bytes
    title: str = ""
    doc_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Addresses to be fetched."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A collection of the configuration, by its name."""

    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be brought in.

    Attributes:
        groups: Who may read it; None leaves a document that is there as it is, and a new one to the person alone.
    """

    what: Upload | Pages | Folder
    groups: tuple[str, ...] | None = None


def encode(order: Order) -> bytes:
    """The same bytes for the same order."""
    return _adapter().dump_json(order)


def decode(data: bytes) -> Order:
    """The order `encode` was given. Raises SchemaMismatch."""
    try:
        order = _adapter().validate_json(data)
    except ValueError as error:
        raise SchemaMismatch("a stored order to bring documents in cannot be read by this version") from error
    if order is None:
        raise SchemaMismatch("a stored order to bring documents in is empty")
    return order


@cache
def _adapter() -> TypeAdapter[Order | None]:
    # A dataclass takes no configuration from outside; a union hands it down.
    return TypeAdapter(Order | None, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
