"""What a configuration folder brings along as code and documents: ``tools.py`` and its collections."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quarterdeck.app.knowledge import Knowledge
from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.tools import Tool
from quarterdeck.knowledge.ingest import IngestReport, Progress
from quarterdeck.settings import Configuration
from quarterdeck.settings.knowledge import Collection
from quarterdeck.tools import as_tool

__all__ = ["build_tools", "collection_path", "ingest"]


def build_tools(folder: Path, data: Path) -> Sequence[Tool]:
    """What ``build_tools(data)`` of the folder's ``tools.py`` returns; nothing if there is no such file.

    A bare function among them is taken for what `tools.as_tool` says. It is an administrator's code and runs with the
    server's rights. Raises Misconfigured if it fails.
    """
    path = folder / "tools.py"
    if path.is_dir():
        raise Misconfigured(f"{path}: is a folder: put a file with build_tools(data) in its place, or remove it")
    if not path.is_file():
        return ()
    spec = importlib.util.spec_from_file_location("quarterdeck_folder_tools", path)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _importable(folder):
        try:
            spec.loader.exec_module(module)
            build: Callable[[Path], Iterable[Tool | Callable[..., Any]]] = module.build_tools
            return tuple(as_tool(one) for one in build(data))
        except Misconfigured as error:
            raise Misconfigured(f"{path}: {error}") from error
        except AttributeError as error:
            raise Misconfigured(f"{path}: {error}; it must define build_tools(data: Path) -> list of tools") from error
        except Exception as error:
            raise Misconfigured(f"{path}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    # The folder is an administrator's, perhaps read-only or under version control: no byte code is left in it.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before


def collection_path(configuration: Configuration, collection: Collection) -> Path:
    """Where the documents of a collection lie. Raises Misconfigured if it is no folder."""
    path = (configuration.folder / collection.path).resolve()
    if not path.is_dir():
        raise Misconfigured(f"{configuration.folder / 'quarterdeck.yaml'}: knowledge.collections: {path} is not a folder")
    return path


async def ingest(
    configuration: Configuration, knowledge: Knowledge, progress: Progress | None = None
) -> Mapping[Path, IngestReport]:
    """Bring every collection into the index; only what changed is read. Raises Misconfigured for a folder there is not."""
    reports: dict[Path, IngestReport] = {}
    for collection in configuration.settings.knowledge.collections:
        path = collection_path(configuration, collection)
        reports[path] = await knowledge.ingester(collection.tenant).ingest_folder(
            path,
            groups=collection.groups,
            trusted=collection.trusted,
            collection=str(collection.path),
            progress=progress,
        )
    return reports
