"""Documents brought in by real processes that are killed in the middle, while others search."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUARTERDECK, Answer, Server, environment

ARTICLES = 300
USERS = """
roles:
  editor: [chat, documents.read, documents.write, operate]
users:
  - {id: ed, tenant: acme, roles: [editor], groups: [everyone], key: generated, default: true}
  - {id: rita, tenant: acme, groups: [everyone], scopes: [chat, documents.read], key: generated}
"""
AGENT = "model: simulated\ninstructions: Answer from the articles.\ntools: [search_knowledge_base]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "agents").mkdir(parents=True)
    (made / "knowledge").mkdir()
    (made / "quarterdeck.yaml").write_text(
        "name: kb\nknowledge:\n  collections:\n    - {path: knowledge, tenant: acme, groups: [everyone], trusted: true}\n"
    )
    (made / "users.yaml").write_text(USERS)
    (made / "agents" / "helper.yaml").write_text(AGENT)
    return made


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data", folder=folder)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def write_articles(folder: Path, edition: int, count: int = ARTICLES) -> None:
    """Each article says three times which edition it is, in three sections."""
    for number in range(count):
        parts = "\n\n".join(f"## Part {part}\n\nArticle {number} edition{edition} here." for part in range(3))
        (folder / "knowledge" / f"{number:03}.md").write_text(f"# Article {number}\n\n{parts}\n")


def outcomes(server: Server, run_id: str) -> list[tuple[str, str]]:
    """What the stream of a run tells of its documents, in order."""
    told = server.send("GET", f"/api/v1/runs/{run_id}/events").body.decode()
    assert told.endswith("data: [DONE]\n\n")
    frames = [frame.split("\n") for frame in told.split("\n\n") if "event: document_ingested" in frame]
    events = [json.loads(line.removeprefix("data: ")) for frame in frames for line in frame if line.startswith("data: ")]
    return [(event["item"], event["outcome"]) for event in events]


def texts(server: Server) -> list[str]:
    """The text of every document there is."""
    ids: list[str] = []
    after = ""
    while True:
        page = server.send("GET", f"/api/v1/documents?limit=200&after={after}").json
        ids += [row["id"] for row in page["documents"]]
        if page["next"] is None:
            break
        after = page["next"]
    return [server.send("GET", f"/api/v1/documents/{doc}").json["text"] for doc in ids]


def head(server: Server, run_id: str) -> Any:
    return server.send("GET", f"/api/v1/runs/{run_id}").json


def killed_in_the_middle(server: Server, run_id: str) -> int:
    """Kill the server once some of the run's documents are in; returns how many events it had by then."""
    deadline = time.monotonic() + 60
    while (seen := head(server, run_id))["head"] < 40:
        assert time.monotonic() < deadline, seen
    server.stop(signal.SIGKILL)
    return int(seen["head"])


@pytest.mark.row("K8", part="kill")
def test_a_run_whose_server_is_killed_goes_on_after_the_restart_and_no_document_is_half_there(
    server: Server, folder: Path
) -> None:
    write_articles(folder, 1)

    begun = server.send("POST", "/api/v1/documents/import", {"collection": "knowledge"})
    assert begun.status == 202, begun.body
    seen = killed_in_the_middle(server, begun.json["run_id"])
    server.start()
    run = server.ended(begun.json["run_id"])

    told = outcomes(server, begun.json["run_id"])
    assert run["status"] == "done"
    assert [item for item, _ in told] == [f"{number:03}.md" for number in range(ARTICLES)]
    assert {outcome for _, outcome in told[: seen - 1]} == {"added"}
    found = texts(server)
    assert len(found) == ARTICLES
    assert all(text.count("edition1") == 3 for text in found)


@pytest.mark.row("K8", part="kill")
def test_an_upload_that_was_accepted_is_brought_in_though_the_server_dies_at_once(server: Server) -> None:
    begun = [
        server.send("POST", "/api/v1/documents", {"name": f"{number}.md", "text": f"# Note\n\nomega {number}\n"}).json
        for number in range(20)
    ]

    server.stop(signal.SIGKILL)
    server.start()

    assert [server.ended(one["run_id"])["output"]["refused"] for one in begun] == [0] * 20
    assert len(texts(server)) == 20


@pytest.mark.row("K8", part="reindex")
def test_who_searches_during_a_reindex_gets_whole_documents_and_no_error(server: Server, folder: Path) -> None:
    write_articles(folder, 1, 60)
    first = server.send("POST", "/api/v1/documents/import", {"collection": "knowledge"}).json
    server.ended(first["run_id"])
    stop, problems, answered = threading.Event(), list[str](), list[int]()

    def reads() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 7) % 60
            reply = server.send("GET", f"/api/v1/documents/{number:03}", user="rita")
            if reply.status != 200 or sorted(reply.json["text"].count(f"edition{n}") for n in (1, 2)) != [0, 3]:
                problems.append(f"{number}: {reply.status} {reply.body[:200]!r}")
            answered.append(number)

    def asks() -> None:
        while not stop.is_set():
            reply = server.send("POST", "/chat", {"message": "What does article 17 say here?"}, user="rita")
            if reply.status != 200:
                problems.append(f"chat: {reply.status} {reply.body[:200]!r}")

    threads = [threading.Thread(target=reads), threading.Thread(target=asks)]
    for thread in threads:
        thread.start()
    try:
        write_articles(folder, 2, 60)
        again = server.send("POST", "/api/v1/documents/import", {"collection": "knowledge"}).json
        run = server.ended(again["run_id"])
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)

    assert problems == []
    assert answered
    assert run["output"]["updated"] == 60
    assert all(text.count("edition2") == 3 for text in texts(server))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUARTERDECK, "ingest", *arguments], capture_output=True, text=True, timeout=120, env=environment(), check=False
    )


def test_a_file_is_taken_that_is_larger_than_any_other_body_may_be(server: Server) -> None:
    rows = "".join(f"{number},a row that says something of its own\n" for number in range(400_000))
    body = ("number,what\n" + rows).encode()
    assert len(body) > 8 * 1_048_576 + 1_000_000  # more than the server takes of any other request

    connection = server.connect()
    head = {"Content-Type": "application/octet-stream"}
    connection.request("POST", "/api/v1/documents?name=rows.txt&groups=everyone", body, head)
    reply = connection.getresponse()
    said = reply.read()
    connection.close()

    assert reply.status == 202, said


@pytest.mark.row("K8", part="command")
def test_the_command_sends_a_folder_to_a_running_server_and_names_what_was_refused(server: Server, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "good.md").write_text("# Good\n\nomega\n")
    (given / "bad.png").write_bytes(b"\x89PNG\r\n")

    sent = command(str(given), "--server", server.url, "--group", "everyone", "--json")
    again = command(str(given), "--server", server.url, "--group", "everyone", "--json")
    foreign = command(str(given), "--server", server.url, "--key", "qd_wrong")

    report = json.loads(sent.stdout)[0]
    assert (sent.returncode, report["added"], [row["file"] for row in report["refused"]]) == (8, 1, ["bad.png"])
    assert json.loads(again.stdout)[0]["unchanged"] == 1
    assert foreign.returncode == 3
    assert [row["title"] for row in server.send("GET", "/api/v1/documents", user="rita").json["documents"]] == ["Good"]


@pytest.mark.row("K8", part="command")
def test_the_command_fills_a_stopped_folder_and_copies_one_index_into_another(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "a.md").write_text("# A\n\n## Section\n\nomega one\n")
    (given / "b.txt").write_text("omega two")
    data, other = str(tmp_path / "data"), str(tmp_path / "other")

    filled = command(str(given), "--folder", str(folder), "--data", data, "--group", "everyone", "--json")
    copied = command(str(folder), "--data", other, "--from-index", f"sqlite:///{data}/knowledge.db", "--json")
    again = command(str(folder), "--data", other, "--from-index", f"sqlite:///{data}/knowledge.db", "--json")
    nowhere = command(str(folder), "--data", other, "--from-index", "sqlite:////nowhere.db")

    assert (filled.returncode, json.loads(filled.stdout)[0]["added"]) == (0, 2)
    assert [(row["folder"], row["added"], row["unchanged"]) for row in json.loads(copied.stdout)] == [("tenant acme", 2, 0)]
    assert json.loads(again.stdout)[0]["unchanged"] == 2
    assert nowhere.returncode == 2


def work(folder: Path, replica: Server) -> subprocess.Popen[str]:
    arguments = [*QUARTERDECK, "worker", str(folder), "--data", str(replica.data), "--json"]
    with (replica.data / "worker.log").open("a") as log:
        worker = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(**replica.environ)
        )
    assert worker.stdout is not None
    assert worker.stdout.readline(), (replica.data / "worker.log").read_text()
    return worker


def stop(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait(20)
    assert worker.stdout is not None
    worker.stdout.close()


@pytest.mark.row("K8", part="workers")
def test_a_run_whose_worker_is_killed_goes_on_at_another_behind_its_last_event(
    folder: Path, tmp_path: Path, postgres_url: str
) -> None:
    environ = {
        "DATABASE_URL": postgres_url,
        "QUARTERDECK_WORKER__IN_SERVER": "false",
        "QUARTERDECK_WORKER__HEARTBEAT_S": "0.5",
        "QUARTERDECK_WORKER__STALLED_S": "2",
    }
    replica = Server(tmp_path / "data", environ, folder=folder)
    workers: list[subprocess.Popen[str]] = []
    try:
        replica.start()
        workers.append(work(folder, replica))
        write_articles(folder, 1)
        run_id = replica.send("POST", "/api/v1/documents/import", {"collection": "knowledge"}).json["run_id"]
        deadline = time.monotonic() + 60
        while head(replica, run_id)["head"] < 20:
            assert time.monotonic() < deadline
        stop(workers.pop())
        left = head(replica, run_id)
        workers.append(work(folder, replica))

        run = replica.ended(run_id)

        told = outcomes(replica, run_id)
        found = texts(replica)
    finally:
        for worker in workers:
            stop(worker)
        replica.stop()

    assert (left["status"], left["head"] < ARTICLES) == ("running", True)
    assert run["status"] == "done"
    assert [item for item, _ in told] == [f"{number:03}.md" for number in range(ARTICLES)]
    assert {outcome for _, outcome in told[: left["head"] - 1]} == {"added"}
    assert len(found) == ARTICLES
    assert all(text.count("edition1") == 3 for text in found)


class Searcher(threading.Thread):
    """Asks a server without a pause, and keeps what nobody may be given: an error, or parts of two editions of a document.

    Attributes:
        asked: How many answers it has looked at.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.asked = 0
        self.problems: list[str] = []
        self._over = threading.Event()

    def __enter__(self) -> Searcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)

    def run(self) -> None:
        while not self._over.is_set():
            number = self.asked * 7 % ARTICLES
            asked = {"query": f"article {number} here", "k": 20}
            found = self.server.send("POST", "/api/v1/search", asked, user="rita")
            whole = self.server.send("GET", f"/api/v1/documents/{number:03}", user="rita")
            self._look_at(found.status, found.json["passages"] if found.status == 200 else [], whole)
            self.asked += 1

    def more(self, count: int) -> None:
        """Wait until so many more answers were looked at."""
        enough, deadline = self.asked + count, time.monotonic() + 60
        while self.asked < enough and self.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _look_at(self, status: int, passages: list[dict[str, Any]], whole: Answer) -> None:
        editions: dict[str, set[str]] = {}
        for passage in passages:
            editions.setdefault(passage["document"], set()).update(re.findall(r"edition\d", passage["content"]))
        mixed = {doc_id for doc_id, several in editions.items() if len(several) != 1}
        if status != 200 or not passages or mixed:
            self.problems.append(f"search: {status} {len(passages)} {mixed}")
        if whole.status != 200 or sorted(whole.json["text"].count(f"edition{n}") for n in (1, 2)) != [0, 3]:
            self.problems.append(f"document: {whole.status} {whole.body[:200]!r}")


@pytest.mark.row("K8", part="kill")
def test_who_asks_while_a_worker_is_killed_in_a_reindex_is_given_no_half_document(
    folder: Path, tmp_path: Path, postgres_url: str
) -> None:
    environ = {
        "DATABASE_URL": postgres_url,
        "VECTOR_DB_URL": postgres_url,
        "QUARTERDECK_WORKER__IN_SERVER": "false",
        "QUARTERDECK_WORKER__HEARTBEAT_S": "0.5",
        "QUARTERDECK_WORKER__STALLED_S": "2",
    }
    replica = Server(tmp_path / "data", environ, folder=folder)
    workers: list[subprocess.Popen[str]] = []
    try:
        replica.start()
        workers.append(work(folder, replica))
        write_articles(folder, 1)
        replica.ended(replica.send("POST", "/api/v1/documents/import", {"collection": "knowledge"}).json["run_id"])
        write_articles(folder, 2)
        with Searcher(replica) as searcher:
            run_id = replica.send("POST", "/api/v1/documents/import", {"collection": "knowledge"}).json["run_id"]
            deadline = time.monotonic() + 60
            while head(replica, run_id)["head"] < 20:
                assert time.monotonic() < deadline
            stop(workers.pop())
            left = head(replica, run_id)
            searcher.more(30)
            workers.append(work(folder, replica))
            run = replica.ended(run_id)
        found = texts(replica)
    finally:
        for worker in workers:
            stop(worker)
        replica.stop()

    assert (left["status"], left["head"] < ARTICLES) == ("running", True)
    assert searcher.problems == []
    assert searcher.asked > 30
    assert run["status"] == "done"
    assert [text.count("edition2") for text in found] == [3] * ARTICLES
