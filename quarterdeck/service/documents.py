"""Documents as people see and change them: everybody what he may read, and who has the right to, also what stands there.

What one may not read does not exist: it is answered like what there is not. Bringing documents in is a run; giving them to
other groups and forgetting them is done at once. Each is audited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, InvalidInput, KeyReused, NotFound, StoreUnavailable
from quarterdeck.core.events import RunStarted
from quarterdeck.core.ids import hashed_id, new_id
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.knowledge.base import Document, Edition, KnowledgeIndex, Lookup
from quarterdeck.knowledge.ingest_source import own_id
from quarterdeck.knowledge.ingest_web import check_addresses
from quarterdeck.knowledge.search import lookup_groups
from quarterdeck.service.ingestion import Sources
from quarterdeck.service.ingestion_sources import checked_groups, is_own, own_collection, uploaded_id
from quarterdeck.service.orders import Folder, Order, Pages, Upload, encode
from quarterdeck.service.upload_line import UploadLine
from quarterdeck.store.base import Audit, Entry, Journal, Records
from quarterdeck.workflow.base import Dispatcher

__all__ = ["Begun", "Documents", "Requested"]

MAX_NAME = 400  # characters of a file name
_LOOKED_THROUGH = 20  # passages among which the one at a place is looked for
_ASKED = 400  # characters of a place that are searched for
_AT_ONCE = 20  # uploads of one document


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The request that wants something.

    Attributes:
        idempotency_key: The same key from the same person is the same run, however often it is sent.
    """

    idempotency_key: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A run that brings documents in.

    Attributes:
        documents: Ids its documents have or will have, by their names; empty where that is not known yet.
    """

    run_id: str
    documents: tuple[tuple[str, str], ...] = ()


class Documents:
    """The documents of an index, before people.

    Args:
        sources: Says what a person may have brought in.
    """

    def __init__(
        self, *, index: KnowledgeIndex, journal: Journal, records: Records, dispatcher: Dispatcher, sources: Sources
    ) -> None:
        self._index = index
        self._journal = journal
        self._records = records
        self._dispatcher = dispatcher
        self._sources = sources
        self._line = UploadLine(journal, records)

    async def upload(self, principal: Principal, upload: Upload, groups: Collection[str] | None, asked: Requested) -> Begun:
        """Begin a run that brings one document in.

        Args:
            groups: Who may read it; None leaves those of a document it replaces, and opens a new one to the person alone.

        Raises:
            InvalidInput: Its name or a group is none.
            Forbidden: The person may not open it to one of the groups.
            NotFound: There is no document that it could replace.
            Conflict: The document to be replaced belongs to a folder.
            KeyReused: The key was used for something else.
        """
        if not 0 < len(upload.name) <= MAX_NAME or not upload.name.isprintable():
            raise InvalidInput(f"a document needs a file name of 1 to {MAX_NAME} printable characters")
        if not upload.title.isprintable():
            raise InvalidInput("the title of a document has printable characters only")
        if upload.doc_id is not None:
            _check_own(await self.open(principal, upload.doc_id))
        doc_id = uploaded_id(principal, upload)
        order = Order(what=upload, groups=_sorted(groups))
        run_id = await self._begin(principal, order, f"Bring in {upload.name}", asked, doc_id=doc_id)
        return Begun(run_id=run_id, documents=((upload.name, doc_id),))

    async def fetch(
        self, principal: Principal, urls: Collection[str], groups: Collection[str] | None, asked: Requested
    ) -> Begun:
        """Begin a run that brings in what stands at these addresses. Raises InvalidInput, Forbidden, Conflict."""
        check_addresses(urls)
        pages = Pages(urls=tuple(dict.fromkeys(urls)))
        collection = own_collection(principal, pages)
        run_id = await self._begin(
            principal, Order(what=pages, groups=_sorted(groups)), f"Bring in {len(pages.urls)} addresses", asked
        )
        return Begun(run_id=run_id, documents=tuple((url, own_id(url, collection)) for url in pages.urls))

    async def synchronise(self, principal: Principal, collection: str, asked: Requested) -> Begun:
        """Begin a run that makes the index hold what a configured folder holds.

        Raises NotFound if there is none of that name, Forbidden if the person is no operator, Conflict.
        """
        order = Order(what=Folder(collection=collection))
        return Begun(run_id=await self._begin(principal, order, f"Bring in the folder {collection}", asked))

    async def readable(self, principal: Principal, *, after: str = "", limit: int = 100) -> list[Document]:
        """Documents the principal may read, by id from the one behind `after`, without their texts."""
        return await self._index.documents(principal.tenant, lookup_groups(principal), after=after, limit=limit)

    async def open(self, principal: Principal, doc_id: str, *, edition: int | None = None) -> Document:
        """A document the principal may read. Raises NotFound for every other, and for an edition there is not."""
        groups = lookup_groups(principal)
        if edition is None:
            found = await self._index.document(principal.tenant, doc_id, groups)
        else:
            found = await self._index.document(principal.tenant, doc_id, groups, edition=edition)
        if found is None:
            raise NotFound(f"there is no document {doc_id}")
        return found

    async def headings(self, principal: Principal, document: Document, start: int, end: int) -> tuple[str, ...]:
        """The headings above a place; none in a former edition, and where no passage of the document holds the place."""
        where = {key: document.meta[key] for key in ("collection", "path") if key in document.meta}
        lookup = Lookup(
            text=document.text[start:end][:_ASKED],
            tenant=principal.tenant,
            groups=lookup_groups(principal),
            where=where,
        )
        found = await self._index.keyword(lookup, _LOOKED_THROUGH)
        return next((p.heading_path for p in found if _holds(p, document, start, end)), ())

    async def editions(self, principal: Principal, doc_id: str) -> list[Edition]:
        """The texts a document had, newest first. Raises NotFound for one the principal may not read."""
        found = await self._index.editions(principal.tenant, doc_id, lookup_groups(principal))
        if not found:
            raise NotFound(f"there is no document {doc_id}")
        return found

    async def set_groups(self, principal: Principal, doc_id: str, groups: Collection[str]) -> Document:
        """Open a document to these groups, and to no others.

        Raises:
            NotFound: There is none that the principal may read.
            InvalidInput: Something is no group, or there is none: nobody could read the document, or remove it.
            Forbidden: One of the groups is not his, nor the document's.
            Conflict: It belongs to a folder, where its groups are written.
        """
        document = await self.open(principal, doc_id)
        _check_own(document)
        if not groups:
            raise InvalidInput("a document without groups is read by nobody: name one, or delete it")
        wanted = checked_groups(principal, groups, document.groups)
        await self._audit(principal, f"groups:{','.join(sorted(wanted))}", doc_id)
        await self._index.set_groups(principal.tenant, doc_id, wanted)
        return replace(document, groups=wanted)

    async def delete(self, principal: Principal, doc_id: str) -> None:
        """Forget a document with all its editions.

        Raises NotFound if there is none that the principal may read, Conflict if it belongs to a folder.
        """
        _check_own(await self.open(principal, doc_id))
        await self._audit(principal, "delete", doc_id)
        if not await self._index.delete(principal.tenant, [doc_id]):
            raise NotFound(f"there is no document {doc_id}")

    async def _begin(
        self, principal: Principal, order: Order, said: str, asked: Requested, *, doc_id: str | None = None
    ) -> str:
        """Args: doc_id: The one document it brings in, behind all that arrived for it before."""
        self._sources.source(principal, order)  # refused now, not when a worker takes it up
        key = asked.idempotency_key
        run_id = new_id() if key is None else hashed_id(principal.tenant, principal.user, "ingest", key)
        wanted = encode(order)
        if key is not None and await self._repeated(principal.tenant, run_id, wanted):
            return run_id
        label = Label(integrity=Integrity.TRUSTED, readers=Readers.of(f"user:{principal.user}"), sources=(f"run:{run_id}",))
        started = RunStarted(
            input=Message(role=Role.USER, parts=(Text(text=said, label=label),)),
            agent="ingest",
            work="ingest",
            config_hash=hashlib.sha256(wanted).hexdigest(),
            tenant=principal.tenant,
            principal=principal,
            trace_id=asked.trace_id,
            span_id=asked.span_id,
            request_id=asked.request_id,
            tags=asked.tags,
        )
        audit = _audit(principal, "ingest", run_id, started.config_hash)
        # The order is kept with the run or not at all: what is refused nothing would refer to, and no erasure find.
        if await self._created(principal.tenant, run_id, Entry(event=started), audit, wanted, doc_id):
            await self._dispatcher.wake(principal.tenant, run_id)
        else:
            await self._repeated(principal.tenant, run_id, wanted)
        return run_id

    async def _created(
        self, tenant: str, run_id: str, started: Entry, audit: Audit, order: bytes, doc_id: str | None
    ) -> bool:
        if doc_id is None:
            return await self._journal.create(tenant, run_id, started, beside=[audit], order=order)
        for _ in range(_AT_ONCE):
            entering = await self._line.entering(tenant, doc_id, run_id)
            with suppress(Conflict):  # another upload of this document was faster
                return await self._journal.create(tenant, run_id, started, beside=[audit, entering], order=order)
        raise StoreUnavailable(f"document {doc_id} is being sent by too many at once: send it again")

    async def _repeated(self, tenant: str, run_id: str, wanted: bytes) -> bool:
        """Whether there is this run, with this order. Raises KeyReused if it has another one."""
        async for entry in self._journal.read(tenant, run_id):
            if not isinstance(entry.event, RunStarted) or entry.event.config_hash != hashlib.sha256(wanted).hexdigest():
                raise KeyReused("this Idempotency-Key was used for other documents; take a new one")
            return True
        return False

    async def _audit(self, principal: Principal, what: str, doc_id: str) -> None:
        """Who changes what, written before it is done: nothing is done that nobody is known to have wanted."""
        await self._records.write(principal.tenant, [_audit(principal, what, f"document:{doc_id}")])


def _audit(principal: Principal, what: str, object: str, hashed: str = "") -> Audit:
    user = f"user:{principal.user}"
    return Audit(actor=user, subject=user, action="documents", object=object, decision=what, args_hash=hashed)


def _check_own(document: Document) -> None:
    collection = document.meta.get("collection", "")
    if not is_own(collection):
        raise Conflict(
            f"document {document.id} comes from the folder {collection!r}, which an administrator keeps: change it there"
        )


def _holds(passage: Passage, document: Document, start: int, end: int) -> bool:
    same = (passage.doc_id, passage.edition) == (document.id, document.edition)
    return same and passage.start <= start and end <= passage.end


def _sorted(groups: Collection[str] | None) -> tuple[str, ...] | None:
    return None if groups is None else tuple(sorted(set(groups)))
