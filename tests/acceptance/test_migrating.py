"""The schema goes down and up by command, and a server refuses one it does not know."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest

from .conftest import EXAMPLE, QUARTERDECK, Server, environment


def migrate(data: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*QUARTERDECK, "migrate", str(EXAMPLE), "--data", str(data), "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**environ), timeout=60, check=False)


@pytest.mark.row("P2", part="command")
def test_a_step_down_and_up_keeps_the_runs(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.start()
    asked = server.ask("How do I report phishing?")
    server.stop()

    down = migrate(server.data, "--to", "3")
    up = migrate(server.data)
    server.start()
    run = server.send("GET", f"/api/v1/runs/{asked['run_id']}").json
    server.stop()

    assert (down.returncode, json.loads(down.stdout)["status"]) == (0, "version 3"), down.stderr
    assert (up.returncode, json.loads(up.stdout)["status"]) == (0, "current"), up.stderr
    assert run["status"] == "done"


@pytest.mark.row("P2", part="command")
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_schema_of_a_newer_version_ends_the_start_with_an_error(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    environ = {} if engine == "sqlite" else {"DATABASE_URL": request.getfixturevalue("postgres_url")}
    made = migrate(tmp_path, **environ)
    add = "INSERT INTO schema_versions (version, name, checksum, applied_at) VALUES (99, 'later', 'x', 0)"
    if engine == "sqlite":
        connection = sqlite3.connect(tmp_path / "quarterdeck.db")
        connection.execute(add)
        connection.commit()
        connection.close()
    else:
        with psycopg.connect(environ["DATABASE_URL"]) as opened:
            opened.execute(add)

    served = subprocess.run(
        [*QUARTERDECK, "serve", str(EXAMPLE), "--port", "0", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(**environ),
        timeout=60,
        check=False,
    )

    assert made.returncode == 0, made.stderr
    assert served.returncode == 2
    assert "schema version 99" in served.stderr
    assert "Traceback" not in served.stderr


def test_a_version_there_is_not_is_refused(tmp_path: Path) -> None:
    refused = migrate(tmp_path, "--to", "77")

    assert refused.returncode == 2
    assert "there is no schema version 77" in refused.stderr


@pytest.mark.row("P2", part="command")
def test_after_migrating_a_login_without_rights_on_the_schema_can_serve(tmp_path: Path, postgres_url: str) -> None:
    made = migrate(tmp_path, DATABASE_URL=postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS plain_login")
        owner.execute("CREATE ROLE plain_login LOGIN IN ROLE quarterdeck_app, quarterdeck_dispatch")
    server = Server(tmp_path / "data", {"DATABASE_URL": postgres_url.replace("postgres@", "plain_login@")})
    server.start()
    try:
        asked = server.ask("How do I report phishing?")
        ready = server.send("GET", "/ready")
    finally:
        stopped = server.stop()

    assert made.returncode == 0, made.stderr
    assert asked["sources"]
    assert ready.status == 200
    assert stopped == 0
