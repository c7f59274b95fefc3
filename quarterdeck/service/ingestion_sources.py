"""What may be brought in, by whom and for whom: orders as sources of documents, within the rights of a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, NotFound, TooLarge
from quarterdeck.knowledge.ingest_folder import FolderSource
from quarterdeck.knowledge.ingest_source import Given, Item, Listing, Origin, Source, check_groups, own_id
from quarterdeck.knowledge.ingest_web import OpenClient, WebSource
from quarterdeck.knowledge.search import lookup_groups
from quarterdeck.service.orders import Folder, Order, Pages, Upload

__all__ = ["WRITES_DOCUMENTS", "CollectionFolder", "OrderSources", "checked_groups", "own_collection", "uploaded_id"]

WRITES_DOCUMENTS = "documents.write"
_OPERATES = "operate"
_OWN = ("upload:", "web:")  # what collections of people begin with; all others are folders of the configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionFolder:
    """A folder of documents as an administrator configured it.

    Attributes:
        name: What its documents are known by, wherever the folder lies.
    """

    name: str
    tenant: str
    path: Path
    groups: frozenset[str] = frozenset()
    trusted: bool = False


def own_collection(principal: Principal, what: Upload | Pages) -> str:
    """The collection of what a person uploads or has fetched: a name of a file or an address is somebody's own."""
    return f"{_OWN[isinstance(what, Pages)]}{principal.user}"


def uploaded_id(principal: Principal, upload: Upload) -> str:
    """The document an upload replaces or becomes."""
    return upload.doc_id or own_id(upload.name, own_collection(principal, upload))


def is_own(collection: str) -> bool:
    """True for a collection that people fill, not a folder."""
    return collection.startswith(_OWN)


def checked_groups(principal: Principal, groups: Collection[str], present: Collection[str] = ()) -> frozenset[str]:
    """The groups, if the principal may give them: those he reads with himself, and those that a document has already.

    To speak for a group one is not in would put words before people who take them for their colleagues'. An operator may.

    Raises:
        InvalidInput: Something is no group.
        Forbidden: He may not give one of them.
    """
    wanted = check_groups(groups)
    if _OPERATES not in principal.scopes and (others := sorted(wanted - lookup_groups(principal) - set(present))):
        raise Forbidden(f"{principal.user} may not open documents to {', '.join(others)}: only to groups of his own")
    return wanted


class OrderSources:
    """`service.ingestion.Sources`.

    Args:
        collections: Folders of the configuration.
        client: Gives what fetches addresses; None where none may be fetched.
        fetch_timeout_s: For one address.
    """

    def __init__(
        self,
        *,
        collections: Collection[CollectionFolder] = (),
        client: OpenClient | None = None,
        fetch_timeout_s: float = 30.0,
    ) -> None:
        self._collections: Mapping[tuple[str, str], CollectionFolder] = {
            (folder.tenant, folder.name): folder for folder in collections
        }
        self._client = client
        self._fetch_timeout_s = fetch_timeout_s

    def source(self, principal: Principal, order: Order) -> Source:
        if WRITES_DOCUMENTS not in principal.scopes:
            raise Forbidden(f"this needs the scope {WRITES_DOCUMENTS}, which {principal.user} does not have")
        match order.what:
            case Upload() as upload:
                return _Uploaded(upload, _origin(principal, order, upload))
            case Pages(urls=urls) as pages:
                if self._client is None:
                    raise Forbidden("this server fetches no addresses")
                return WebSource(urls, _origin(principal, order, pages), self._client, timeout_s=self._fetch_timeout_s)
            case Folder(collection=name):
                return self._folder(principal, name)

    def _folder(self, principal: Principal, name: str) -> Source:
        if _OPERATES not in principal.scopes:  # its documents are anybody's, and the run names them all
            raise Forbidden(f"this needs the scope {_OPERATES}, which {principal.user} does not have")
        folder = self._collections.get((principal.tenant, name))
        if folder is None:
            raise NotFound(f"there is no collection {name[:60]!r}")
        return FolderSource(folder.path, groups=folder.groups, trusted=folder.trusted, collection=folder.name)


def _origin(principal: Principal, order: Order, what: Upload | Pages) -> Origin:
    given = None if order.groups is None else checked_groups(principal, order.groups)
    groups = frozenset({f"user:{principal.user}"}) if given is None else given
    own = None if _OPERATES in principal.scopes else lookup_groups(principal)
    return Origin(
        collection=own_collection(principal, what),
        groups=groups,
        # A page is a stranger's: it can be opened to fewer by what it says, not to others.
        may_name=groups if isinstance(what, Pages) else own,
        reads=lookup_groups(principal),
        gives=given,
    )


class _Uploaded:
    """The one document of an upload."""

    def __init__(self, upload: Upload, origin: Origin) -> None:
        self.origin = origin
        self._upload = upload

    async def listing(self) -> Listing:
        return Listing(items=[Item(path=self._upload.name, read=self._read, doc_id=self._upload.doc_id)])

    async def _read(self, most: int) -> Given:
        upload = self._upload
        if len(upload.data) > most:
            raise TooLarge(f"larger than {most // 1_000_000} MB")
        return Given(name=upload.name, data=upload.data, title=upload.title)
