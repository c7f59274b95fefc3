"""The audit log of a running server: read and exported over HTTP, checked by command while it runs and when it is gone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from quarterdeck.store.audit import verify
from tests.s3_server import S3Server

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

pytestmark = pytest.mark.row("G7", part="by command")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example with an auditor, and checkpoints in a file beside it."""
    folder = tmp_path / "desk"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".quarterdeck"))
    users = yaml.safe_load((folder / "users.yaml").read_text())
    users["users"].append({"id": "audra", "tenant": "acme", "scopes": ["audit.read"], "key": "generated"})
    (folder / "users.yaml").write_text(yaml.safe_dump(users))
    return folder


@pytest.fixture
def server(tmp_path: Path, folder: Path) -> Iterator[Server]:
    checkpoints = f"file:///{tmp_path / 'checkpoints'}"
    server = Server(data=tmp_path / "data", folder=folder, environ={"QUARTERDECK_AUDIT__CHECKPOINTS_URL": checkpoints})
    server.start()
    yield server
    server.stop()


def command(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUARTERDECK, "audit", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**server.environ),
    )


def test_what_happened_is_read_exported_and_checked_with_and_without_the_server(server: Server, tmp_path: Path) -> None:
    data = str(server.data)
    server.send("POST", "/chat", {"message": "How long does a VPN session last?"}, user="emma")

    page = server.send("GET", "/api/v1/audit?limit=3", user="audra").json
    verdict = server.send("GET", "/api/v1/audit/verify", user="audra").json
    exported = server.send("GET", "/api/v1/audit/export", user="audra").body.decode().splitlines()
    refused = server.send("GET", "/api/v1/audit", user="emma")
    while_it_runs = command(server, "verify", str(server.folder), "--data", data)
    server.stop()
    checkpoints = (tmp_path / "checkpoints").read_text().splitlines()
    afterwards = command(server, "verify", str(server.folder), "--data", data, "--tenant", "acme", "--json")

    rows = [json.loads(line) for line in exported]
    assert verify(rows) is None
    assert page["rows"] == rows[: len(page["rows"])]
    assert rows[0]["action"] == "config"
    assert "decision" in {row["action"] for row in rows}
    assert (rows[-1]["action"], rows[-1]["actor"]) == ("export", "user:audra")
    assert verdict["bad"] is None
    assert verdict["rows"] == len(rows) - 1
    assert refused.status == 403
    assert while_it_runs.returncode == 0, while_it_runs.stderr
    assert max(json.loads(line)["seq"] for line in checkpoints) == len(rows)
    (told,) = json.loads(afterwards.stdout)
    assert (told["rows"], told["bad"]) == (len(rows), None)
    assert told["checkpoints"] == sum(json.loads(line)["tenant"] == "acme" for line in checkpoints)


def test_a_flipped_character_and_a_cut_tail_make_the_command_fail(server: Server, tmp_path: Path) -> None:
    server.send("POST", "/chat", {"message": "How long does a VPN session last?"}, user="emma")
    server.stop()
    database = server.data / "quarterdeck.db"
    where = (str(server.folder), "--data", str(server.data))

    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM audit WHERE tenant = 'acme' AND seq > 1")
    first = "(SELECT hash FROM audit WHERE tenant = 'acme' AND seq = 1)"
    connection.execute(f"UPDATE audit_heads SET seq = 1, hash = {first} WHERE tenant = 'acme'")
    connection.commit()
    alone = command(server, "verify", str(server.data))
    compared = command(server, "verify", *where)
    connection.execute("UPDATE audit SET object = object || 'x' WHERE tenant = 'acme' AND seq = 1")
    connection.commit()
    connection.close()
    flipped = command(server, "verify", str(server.data), "--tenant", "acme", "--json")

    assert alone.returncode == 0
    assert compared.returncode == 1
    assert "row 2 is changed, missing or out of order" in compared.stdout
    assert flipped.returncode == 1
    assert json.loads(flipped.stdout)[0]["bad"] == 1


def test_a_whole_log_that_is_gone_is_missed_though_nobody_of_its_tenant_is_left(server: Server) -> None:
    server.stop()
    users = yaml.safe_load((server.folder / "users.yaml").read_text())
    users["users"] = [user for user in users["users"] if user["tenant"] != "globex"]
    (server.folder / "users.yaml").write_text(yaml.safe_dump(users))
    connection = sqlite3.connect(server.data / "quarterdeck.db")
    rows = connection.execute("DELETE FROM audit WHERE tenant = 'globex'").rowcount
    connection.execute("DELETE FROM audit_heads WHERE tenant = 'globex'")
    connection.commit()
    connection.close()

    checked = command(server, "verify", str(server.folder), "--data", str(server.data))

    assert rows > 0
    assert checked.returncode == 1
    assert "globex: row 1 is changed, missing or out of order" in checked.stdout


def test_a_tail_cut_off_with_its_head_is_missed_by_checkpoints_in_a_bucket(
    tmp_path: Path, folder: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    environ = {"QUARTERDECK_AUDIT__CHECKPOINTS_URL": s3_server.url(s3_bucket, "audit")}
    server = Server(data=tmp_path / "data", folder=folder, environ=environ)
    server.start()
    server.send("POST", "/chat", {"message": "How long does a VPN session last?"}, user="emma")
    server.stop()
    where = (str(server.folder), "--data", str(server.data), "--tenant", "acme", "--json")
    whole = json.loads(command(server, "verify", *where).stdout)[0]

    connection = sqlite3.connect(server.data / "quarterdeck.db")
    connection.execute("DELETE FROM audit WHERE tenant = 'acme' AND seq > 1")
    first = "(SELECT hash FROM audit WHERE tenant = 'acme' AND seq = 1)"
    connection.execute(f"UPDATE audit_heads SET seq = 1, hash = {first} WHERE tenant = 'acme'")
    connection.commit()
    connection.close()
    cut = command(server, "verify", *where)

    assert (whole["bad"], whole["checkpoints"]) == (None, 1)
    assert cut.returncode == 1
    assert json.loads(cut.stdout)[0]["bad"] == 2


def test_another_configuration_is_a_row_of_the_log_and_the_same_one_is_not(server: Server) -> None:
    where = (str(server.data), "--tenant", "acme", "--json")
    server.stop()
    server.start()
    server.stop()
    same = json.loads(command(server, "show", *where).stdout)
    policy = server.folder / "policy.yaml"
    policy.write_text(policy.read_text() + "\n# another\n")
    server.start()
    server.stop()

    changed = json.loads(command(server, "show", *where).stdout)

    assert [(row["action"], row["decision"]) for row in same] == [("config", "first")]
    assert [(row["object"], row["decision"]) for row in changed[1:]] == [("policy", "changed")]
