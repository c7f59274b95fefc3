"""Bringing documents in, put together: the runs that do it, and the desk people ask for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from quarterdeck.agent.base import Audience, Directory
from quarterdeck.app.implementations import ARCHIVES, resolve
from quarterdeck.app.knowledge import Knowledge
from quarterdeck.app.stores import Store, path_of, scheme_of
from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.knowledge.ingest_copy import Archive, copy_tenant
from quarterdeck.knowledge.ingest_folder import FolderSource
from quarterdeck.knowledge.ingest_source import Origin, Source, check_groups
from quarterdeck.knowledge.ingest_web import WebSource, addresses
from quarterdeck.net.client import GuardedClient
from quarterdeck.service.documents import Documents
from quarterdeck.service.ingestion import Ingestion
from quarterdeck.service.ingestion_sources import CollectionFolder, OrderSources
from quarterdeck.service.upload_line import UploadLine
from quarterdeck.settings import Configuration
from quarterdeck.workflow.base import Dispatcher

__all__ = ["Intake", "WebClient", "copied", "folders", "named_source"]


class WebClient:
    """Fetches what people name. It opens with the first address, and closes with the block."""

    def __init__(self, allowed_origins: Collection[str] = ()) -> None:
        """`allowed_origins` may be called although they are not public. None of a model's: those are not for people."""
        self._client = GuardedClient(allowed_origins=allowed_origins)
        self._opening = anyio.Lock()
        self._open = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            await self._client.__aexit__(kind, error, trace)

    async def client(self) -> GuardedClient:
        async with self._opening:
            if not self._open:
                await self._client.__aenter__()
                self._open = True
        return self._client


class Intake:
    """What brings documents in: `ingestion` does it, `documents` is where it is asked for."""

    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        knowledge: Knowledge,
        *,
        web: WebClient,
        directory: Directory,
        audience: Audience,
        dispatcher: Dispatcher,
    ) -> None:
        sources = OrderSources(collections=folders(configuration), client=web.client)
        self.ingestion = Ingestion(
            journal=store.journal,
            sources=sources,
            line=UploadLine(store.journal, store.records),
            ingester=knowledge.ingester,
            directory=directory,
            audience=audience,
        )
        self.documents = Documents(
            index=knowledge.index, journal=store.journal, records=store.records, dispatcher=dispatcher, sources=sources
        )


def folders(configuration: Configuration) -> list[CollectionFolder]:
    """The collections of the configuration, by the names their documents are known by."""
    return [
        CollectionFolder(
            name=str(collection.path),
            tenant=collection.tenant,
            path=(configuration.folder / collection.path).resolve(),
            groups=frozenset(collection.groups),
            trusted=collection.trusted,
        )
        for collection in configuration.settings.knowledge.collections
    ]


def named_source(
    configuration: Configuration, target: str, *, tenant: str, groups: Sequence[str], trusted: bool, web: WebClient
) -> tuple[str, Source]:
    """What an administrator names to be brought in, and the tenant whose it is: a folder, or a file with addresses.

    A folder that is one of the configuration's collections is brought in as that.

    Raises:
        InvalidInput: There is no such folder or file, or several tenants and none is named.
    """
    path = Path(target)
    known = next((one for one in folders(configuration) if path.is_dir() and one.path == path.resolve()), None)
    if known is not None and not (tenant or groups or trusted):
        return known.tenant, FolderSource(known.path, groups=known.groups, trusted=known.trusted, collection=known.name)
    owner = tenant or _only_tenant(configuration)
    if path.is_dir():
        return owner, FolderSource(path, groups=groups, trusted=trusted)
    if not path.is_file():
        raise InvalidInput(f"{target} is neither a folder of documents nor a file with addresses")
    given = check_groups(groups)
    origin = Origin(collection="web", groups=given, may_name=given, trusted=trusted)
    return owner, WebSource(addresses(path.read_text(encoding="utf-8")), origin, web.client)


def _only_tenant(configuration: Configuration) -> str:
    tenants = _tenants(configuration)
    if len(tenants) != 1:
        raise InvalidInput(f"say whose documents they are with --tenant: {', '.join(tenants) or 'nobody has any yet'}")
    return tenants[0]


def _tenants(configuration: Configuration) -> list[str]:
    """Those that have people or documents."""
    folders = configuration.settings.knowledge.collections
    return sorted({*configuration.tenants, *(folder.tenant for folder in folders)})


async def copied(
    configuration: Configuration, knowledge: Knowledge, url: str, progress: Progress | None = None
) -> Mapping[str, IngestReport]:
    """Bring the documents of the index at `url` into this one; returns what became of those of each tenant.

    Raises Misconfigured if no index is there that can be copied from.
    """
    scheme = scheme_of(url)
    kind = resolve(ARCHIVES, scheme, "knowledge index to copy from")
    archive: Archive
    if scheme == "sqlite":
        archive = await kind.open(path_of(url, configuration.folder))
    else:
        archive = await kind.open(url, _tenants(configuration))
    try:
        reports: dict[str, IngestReport] = {}
        for tenant in await archive.tenants():
            ingester = knowledge.ingester(tenant)
            reports[tenant] = await copy_tenant(
                archive,
                knowledge.index,
                tenant,
                recipe=ingester.recipe,
                embedder=ingester.embedder,
                progress=progress,
            )
        return reports
    finally:
        await archive.close()
