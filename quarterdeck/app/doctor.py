"""What a configured folder needs to be served, looked at without changing anything: each finding says what to do."""

from __future__ import annotations

import platform
import shutil
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from quarterdeck.app.approvals import unheld
from quarterdeck.app.doctor_models import asked_models
from quarterdeck.app.doctor_start import STARTING, Look
from quarterdeck.app.doctor_stores import journal_standing, look_at_redis, look_at_states
from quarterdeck.app.implementations import BREAKERS, BUSES, CACHES, INDEXES, STATES, STORES, resolve
from quarterdeck.app.knowledge import open_index
from quarterdeck.app.models import shelf
from quarterdeck.app.policy import described
from quarterdeck.app.stores import database, scheme_of, shared
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.policy.lint import lint
from quarterdeck.settings import Configuration
from quarterdeck.tools.registry import Registry

__all__ = ["Finding", "Severity", "examined"]

_SCARCE_BYTES = 1 << 30  # free; below that the journal and the index soon have no place
_FULL_BYTES = 100 << 20
_SKEW_WARNS_S, _SKEW_FAILS_S = 1.0, 30.0


class Severity(StrEnum):
    """How bad it is: `warn` is worth a look, with `fail` the server will not start, or not answer."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at.
        advice: What to do; empty where nothing is.
    """

    check: str
    severity: Severity
    said: str
    advice: str = ""


Check = Callable[[Configuration], AsyncIterator[Finding]]


async def examined(configuration: Configuration, *, calls: bool = True) -> list[Finding]:
    """Everything there is to find about a folder whose configuration could be read.

    Args:
        calls: Models and embedders are asked one word each, which may cost a fraction of a cent.
    """
    checks: dict[str, Check] = {
        "versions": _versions,
        "extras": _extras,
        "data folder": _data,
        "database": _database,
        "state": _state,
        "redis": _redis,
        "index": _index,
        "tools and policy": _policy,
        "people": _people,
        **{name: _started(name, look) for name, look in STARTING.items()},
        "port": _port,
        **({"models": _models} if calls else {}),
    }
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += [finding async for finding in check(configuration)]
        except QuarterdeckError as error:
            findings.append(Finding(check=name, severity=Severity.FAIL, said=str(error), advice=_ADVICE.get(name, "")))
    return findings


_ADVICE = {
    "database": "start the database, mend what is named, or correct store.database_url, then run doctor again",
    "state": "start what keeps snapshots or correct store.state_url",
    "redis": "start it or correct store.redis_url; without it each process counts, caches and streams for itself",
    "index": "correct knowledge.index_url, or bring the documents into a new index: quarterdeck ingest --from-index",
    "tools and policy": "correct the file that is named",
    **dict.fromkeys(STARTING, "correct what is named: the server does not start with it"),
}


def _ok(check: str, said: str) -> Finding:
    return Finding(check=check, severity=Severity.OK, said=said)


async def _versions(configuration: Configuration) -> AsyncIterator[Finding]:
    engines = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield _ok("versions", f"quarterdeck {version('quarterdeck')}, {engines}")


async def _extras(configuration: Configuration) -> AsyncIterator[Finding]:
    """Packages that are loaded only where the configuration asks for them."""
    settings, problems = configuration.settings, []
    wanted = [(STORES, database(configuration), "store")]
    for table, given, what in (
        (STATES, settings.store.state_url, "place for snapshots"),
        (BREAKERS, settings.store.redis_url, "place for circuits"),
        (BUSES, settings.store.redis_url, "bus between replicas"),
        (CACHES, settings.store.redis_url, "cache"),
        (INDEXES, settings.knowledge.index_url, "knowledge index"),
    ):
        if given is not None:
            wanted.append((table, given.get_secret_value(), what))
    for table, url, what in wanted:
        try:
            resolve(table, scheme_of(url), what)
        except QuarterdeckError as error:
            problems.append(str(error))
    if settings.server.grpc_port is not None and find_spec("grpc") is None:
        problems.append("server.grpc_port needs a package that is not installed (grpc)")
    for problem in dict.fromkeys(problems):
        advice = "install the extra it belongs to, such as pip install 'quarterdeck[postgres,redis,s3,qdrant,grpc]'"
        yield Finding(check="extras", severity=Severity.FAIL, said=problem, advice=advice)
    if not problems:
        yield _ok("extras", "every package the configuration needs is installed")


async def _data(configuration: Configuration) -> AsyncIterator[Finding]:
    name, data = "data folder", configuration.data
    standing = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(standing).free
    space = f"{free / (1 << 30):.1f} GiB free in {data}"
    if free < _SCARCE_BYTES:
        severity = Severity.FAIL if free < _FULL_BYTES else Severity.WARN
        yield Finding(check=name, severity=severity, said=f"only {space}", advice="make room, or move store.data")
    else:
        yield _ok(name, space)
    if not _writable(standing):
        said, advice = f"{standing} cannot be written", "let the user the server runs as write there, or move store.data"
        yield Finding(check=name, severity=Severity.FAIL, said=said, advice=advice)
    if standing == data and stat.S_IMODE(data.stat().st_mode) & 0o077:
        said = f"{data} can be read by other users of this machine: it holds documents, answers and keys"
        yield Finding(check=name, severity=Severity.WARN, said=said, advice=f"chmod 700 {data}")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


async def _database(configuration: Configuration) -> AsyncIterator[Finding]:
    standing = await journal_standing(configuration)
    if standing.version == 0:
        yield _ok("database", f"{standing.engine}: new; the first start, or `quarterdeck migrate`, makes its tables")
    elif standing.version < standing.newest:
        said = f"{standing.engine}: schema version {standing.version} of {standing.newest}"
        advice = "the next start brings it up to date; with many replicas run `quarterdeck migrate` first"
        yield Finding(check="database", severity=Severity.WARN, said=said, advice=advice)
    else:
        yield _ok("database", f"{standing.engine}: reachable, schema version {standing.version}")
    if standing.skew_s is not None:
        yield _skew(standing.skew_s)


def _skew(skew_s: float) -> Finding:
    said = f"this machine's clock differs from the database's by {skew_s:.2f} s"
    if abs(skew_s) < _SKEW_WARNS_S:
        return _ok("clock", said)
    severity = Severity.FAIL if abs(skew_s) >= _SKEW_FAILS_S else Severity.WARN
    advice = "set both by NTP: deadlines and approvals expire by them"
    return Finding(check="clock", severity=severity, said=said, advice=advice)


async def _state(configuration: Configuration) -> AsyncIterator[Finding]:
    if (url := configuration.settings.store.state_url) is not None:
        await look_at_states(url.get_secret_value())
        yield _ok("state", f"store.state_url ({scheme_of(url.get_secret_value())}) answers")


async def _redis(configuration: Configuration) -> AsyncIterator[Finding]:
    if (url := configuration.settings.store.redis_url) is not None:
        await look_at_redis(url.get_secret_value())
        yield _ok("redis", "store.redis_url answers")


async def _index(configuration: Configuration) -> AsyncIterator[Finding]:
    new = shared(configuration) and (await journal_standing(configuration)).version == 0
    if configuration.settings.knowledge.index_url is None and not (configuration.data / "knowledge.db").exists():
        yield _ok("index", "new: the first start, or `quarterdeck ingest`, brings the documents in")
        return
    if new:
        yield _ok("index", "not looked at: the database is new")
        return
    async with shelf(configuration) as models:
        index = await open_index(configuration, models)
        try:
            counted = [
                await index.stats(tenant)
                for tenant in sorted({collection.tenant for collection in configuration.settings.knowledge.collections})
            ]
        finally:
            await index.close()
    passages = sum(stats.passages for stats in counted)
    yield _ok("index", f"of the configured embedder, with {passages} passages of {len(counted)} tenants")


async def _policy(configuration: Configuration) -> AsyncIterator[Finding]:
    name = "tools and policy"
    with described(configuration) as (tools, policy):
        registry = Registry(tools)
        for agent in configuration.agents.values():
            registry.only(agent.tools)
        yield _ok(name, f"{len(tools)} tools, policy {policy.version[:12]}")
        for found in lint(policy, tools):
            if found.level == "warning":
                said, advice = f"{found.tool} {found.text}", "`quarterdeck policy lint FOLDER` says more"
                yield Finding(check=name, severity=Severity.WARN, said=said, advice=advice)
        for said in unheld(policy, configuration.users):
            advice = "give somebody the role and the scope approvals, or name others: drafts of it only expire"
            yield Finding(check=name, severity=Severity.WARN, said=said, advice=advice)


def _started(check: str, look: Look) -> Check:
    async def started(configuration: Configuration) -> AsyncIterator[Finding]:
        if said := await look(configuration):
            yield _ok(check, said)

    return started


async def _people(configuration: Configuration) -> AsyncIterator[Finding]:
    settings, keyed = configuration.settings, [user for user in configuration.users if user.key]
    if settings.env == "development":
        yield _ok("people", f"{len(configuration.users)} people, {len(keyed)} with a key; development lets one in without")
        return
    if not keyed:
        advice = "give somebody in users.yaml `key: generated`, or the hash of a key"
        yield Finding(check="people", severity=Severity.FAIL, said="nobody has a key", advice=advice)
    else:
        yield _ok("people", f"{len(keyed)} of {len(configuration.users)} people have a key")
    if (configuration.data / "keys").exists():
        said = f"{configuration.data / 'keys'} holds keys as they were made"
        advice = "hand them out and delete the file; what is checked are their hashes"
        yield Finding(check="people", severity=Severity.WARN, said=said, advice=advice)


async def _port(configuration: Configuration) -> AsyncIterator[Finding]:
    server = configuration.settings.server
    for name, port in (("server.port", server.port), ("server.grpc_port", server.grpc_port)):
        if port is None:
            continue
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((server.host.strip("[]"), port))
            except OSError as error:
                said = f"{server.host}:{port} cannot be listened on: {error.strerror}"
                advice = f"is a server running already? Else choose another {name}"
                yield Finding(check="port", severity=Severity.WARN, said=said, advice=advice)
                continue
        yield _ok("port", f"{server.host}:{port} is free")


async def _models(configuration: Configuration) -> AsyncIterator[Finding]:
    began = time.monotonic()
    async for asked in asked_models(configuration):
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        if asked.problem:
            advice = "look at the key, the address and the name of the model; models.fallbacks can stand in for it"
            yield Finding(check="models", severity=Severity.FAIL, said=asked.problem, advice=advice)
        elif asked.simulated and configuration.settings.models.mode != "local":
            said = f"{asked.name}: simulated, as there is no key for it"
            yield Finding(check="models", severity=Severity.WARN, said=said, advice=asked.advice)
        else:
            yield _ok("models", f"{asked.name}: {'simulated, as configured' if asked.simulated else f'answers in {took}'}")
        began = time.monotonic()
