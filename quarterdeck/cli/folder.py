"""Commands over a configuration folder: serve, worker, migrate, config."""

from __future__ import annotations

import contextlib
import json as jsonlib
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli.show import AsJson, as_json, console, heard_or_not, plain
from quarterdeck.core.errors import Unavailable
from quarterdeck.settings import Configuration, load
from quarterdeck.settings.secrets import secret_values

if TYPE_CHECKING:
    from quarterdeck.app.runtime import Runtime
    from quarterdeck.app.server import Ports

__all__ = ["Data", "config", "loaded", "migrate", "serve", "served_alone", "worker"]

Folder = Annotated[Path, typer.Argument(help="A configuration folder: quarterdeck.yaml, agents/, users.yaml, ...")]
Data = Annotated[Path | None, typer.Option(help="Data folder, in place of store.data.")]

_MOST_FILES = 65_536


def serve(
    folder: Folder,
    host: Annotated[str | None, typer.Option(help="Address to listen on, in place of server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, in place of server.port; 0 takes a free one.")] = None,
    data: Data = None,
    json: AsJson = False,
) -> None:
    """Serve a folder over HTTP until it is told to stop."""
    import anyio

    from quarterdeck.app.server import serve as serve_app

    configuration = loaded(folder, data=data, host=host, port=port)
    _log(configuration)
    _take_open_files()

    def announce(runtime: Runtime, ports: Ports) -> None:
        with heard_or_not():
            (_announce_json if json else _announce)(runtime, ports)

    anyio.run(partial(serve_app, configuration, on_ready=announce), backend_options={"use_uvloop": True})
    _leave_threads()


def worker(folder: Folder, data: Data = None, json: AsJson = False) -> None:
    """Advance runs of a folder, beside its servers, until told to stop. Needs a database that processes can share."""
    import anyio

    from quarterdeck.app.worker import work

    configuration = loaded(folder, data=data)
    _log(configuration)

    def announce(runtime: Runtime, metrics_port: int | None) -> None:
        with heard_or_not():
            if json:
                told = {"pid": os.getpid(), "warnings": list(runtime.warnings), "metrics_port": metrics_port}
                print(jsonlib.dumps(told, ensure_ascii=False), flush=True)
            else:
                console().print(f"[bold]{configuration.settings.name}[/]: a worker is ready (process {os.getpid()})")

    _take_open_files()
    anyio.run(partial(work, configuration, on_ready=announce), backend_options={"use_uvloop": True})
    _leave_threads()


def _take_open_files() -> None:
    """Have as many files open as this process may at all.

    Every connection is one, and usually only 1,024 are allowed at first, which idle connections alone would use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # a system that does not allow what it says serves with what there is
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _log(configuration: Configuration) -> None:
    """Write JSON lines as configured, without the configuration's secrets."""
    from quarterdeck.telemetry import configure

    settings = configuration.settings
    known = {*secret_values(settings), *configuration.secrets.values()}
    configure(settings.log.level, secrets=known, personal=settings.log.personal)


def _leave_threads() -> None:
    """A tool that blocks its thread cannot be stopped; the process does not wait for it. Everything is closed by now."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def migrate(
    folder: Folder,
    data: Data = None,
    to: Annotated[
        int | None, typer.Option(min=0, help="Version of the journal's schema; a step down drops what that version lacks.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Bring the databases of a folder to this version, or the journal's schema to another one."""
    import anyio

    configuration = loaded(folder, data=data)
    anyio.run(_migrate, configuration, to)
    status = "current" if to is None else f"version {to}"
    if json:
        as_json({"data": str(configuration.data), "status": status})
    else:
        console().print(f"{configuration.data}: {status}", markup=False)


def config(
    folder: Folder,
    data: Data = None,
    reference: Annotated[bool, typer.Option("--reference", help="Print the reference of all keys instead.")] = False,
    json: AsJson = False,
) -> None:
    """Show what is in force: files, profiles and environment together. Secrets are masked."""
    if reference:
        from quarterdeck.settings.reference import reference as page

        print(page(), end="")
        return
    configuration = loaded(folder, data=data)
    shown = {
        "folder": str(configuration.folder),
        "data": str(configuration.data),
        "settings": configuration.settings.model_dump(mode="json"),
        "agents": {name: {"model": spec.model, "tools": list(spec.tools)} for name, spec in configuration.agents.items()},
        "users": [
            {"id": user.id, "tenant": user.tenant, "roles": user.roles, "groups": user.groups, "scopes": user.scopes}
            for user in configuration.users
        ],
    }
    if json:
        as_json(shown)
        return
    for name, value in _flat(shown):
        console().print(f"{name} = {plain(value)}", markup=False)


@contextlib.contextmanager
def served_alone(folder: Path) -> Iterator[str]:
    """A server of its own for one conversation, on a free port; gives its address.

    It is a process, not a thread: signals, logs and the folder's code stay out of the terminal's program.
    """
    command = [
        sys.executable,
        "-c",
        "from quarterdeck.cli import main; main()",
        "serve",
        str(folder),
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "QUARTERDECK_LOG__LEVEL": "error"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise Unavailable(process.stderr.read().strip().removeprefix("error: ") or "the server did not start")
            yield jsonlib.loads(line)["url"]
        finally:
            process.terminate()
            process.communicate()


def loaded(folder: Path, *, data: Path | None = None, **server: Any) -> Configuration:
    """The configuration of a folder, with what flags say in place of its files."""
    flags: dict[str, Any] = {}
    if any(value is not None for value in server.values()):
        flags["server"] = {name: value for name, value in server.items() if value is not None}
    if data is not None:
        flags["store"] = {"data": str(data.resolve())}
    return load(folder, os.environ, flags)


async def _migrate(configuration: Configuration, to: int | None) -> None:
    from quarterdeck.app.knowledge import open_index
    from quarterdeck.app.models import shelf
    from quarterdeck.app.stores import migrated, opened_store
    from quarterdeck.app.workers import dispatching

    await migrated(configuration, to)
    if to is None:
        async with (
            opened_store(configuration, serving=False) as store,
            dispatching(configuration, store),
            shelf(configuration) as models,
        ):
            await (await open_index(configuration, models)).close()  # the queue's tables are there by now, too


def _announce_json(runtime: Runtime, ports: Ports) -> None:
    settings = runtime.configuration.settings
    told = {
        "url": f"http://{settings.server.host}:{ports.http}",
        **({} if ports.grpc is None else {"grpc": f"{settings.server.host}:{ports.grpc}"}),
        "name": settings.name,
        "env": settings.env,
        "models": _models(runtime),
        "warnings": list(runtime.warnings),
        "keys_file": str(runtime.keys.readable),
        "new_keys": dict(runtime.new_keys) if settings.env == "development" else {},
    }
    print(jsonlib.dumps(told, ensure_ascii=False), flush=True)


def _announce(runtime: Runtime, ports: Ports) -> None:
    out = console()
    settings = runtime.configuration.settings
    address = f"http://{settings.server.host}:{ports.http}"
    out.print(f"[bold]{settings.name}[/] is ready ({settings.env}): [bold]{address}[/]")
    if ports.grpc is not None:
        out.print(f"  gRPC on {settings.server.host}:{ports.grpc}", markup=False)
    for agent, model in _models(runtime).items():
        out.print(f"  agent {agent} · model {model}", markup=False)
    for warning in runtime.warnings:
        out.print(f"  {plain(warning)}", style="yellow", markup=False)
    documents = sum(report.added + report.updated + report.unchanged for report in runtime.ingested.values())
    out.print(f"  {documents} documents in the knowledge base", markup=False)
    keyless = runtime.access.keyless
    if keyless is not None:
        out.print(f"  calls without a key from this machine are {keyless}'s", markup=False)
    for user, key in runtime.new_keys.items():
        # In production standard output is somebody's log.
        shown = key if settings.env == "development" else "made just now"
        out.print(f"  key of {user}: {shown}", markup=False)
    if runtime.keys.readable.exists():
        out.print(f"  keys are kept in {runtime.keys.readable}", markup=False)
    out.print("Try, in another terminal:", style="dim")
    ask = """-H 'Content-Type: application/json' -d '{"message": "What can you help me with?"}'"""
    out.print(f"  curl -s {address}/chat {ask}", markup=False)
    program = sys.argv[0] if shutil.which("quarterdeck") is None else "quarterdeck"
    out.print(f"  {program} chat --url {address}", markup=False)
    approver = next((user for user in runtime.configuration.users if "approvals" in user.scopes), None)
    if approver is not None:
        find = f"export QUARTERDECK_KEY=$(awk '$1 == \"{approver.id}\" {{print $2}}' {runtime.keys.readable})"
        out.print(f"  {find}", markup=False)
        out.print(f"  {program} approvals list --url {address}", markup=False)
    sys.stdout.flush()


def _models(runtime: Runtime) -> Mapping[str, str]:
    """The model that really answers for each agent."""
    return {name: runtime.models[agent.model] for name, agent in runtime.configuration.agents.items()}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
