from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLE, QUARTERDECK, Server, environment


def _run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*QUARTERDECK, *words], capture_output=True, text=True, env=environment(**environ), timeout=60)


def _json(*words: str, **environ: str) -> Any:
    done = _run(*words, "--json", **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.row("D4", part="help")
@pytest.mark.parametrize(
    "words",
    [(), ("serve",), ("runs", "show")],
    ids=" ".join,
)
def test_the_program_explains_itself(words: tuple[str, ...]) -> None:
    done = _run(*words, "--help")

    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.row("D4", part="json")
def test_draft_is_listed_shown_edited_and_approved_from_the_command_line(server: Server) -> None:
    omar = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("omar")}
    asked = _json("chat", "Please open a ticket because my monitor flickers.", "--url", server.url)
    (draft_id,) = asked["drafts"]

    listed = _json("approvals", "list", **omar)
    draft = _json("approvals", "show", draft_id, **omar)
    edited = json.dumps({**draft["args"], "title": "Monitor of Emma flickers"})
    decided = _json("approvals", "approve", draft_id, "--edit", edited, **omar)
    server.ended(asked["run_id"])
    run = _json("runs", "show", asked["run_id"], "--url", server.url)
    runs = _json("runs", "list", **omar)

    assert draft_id in [row["id"] for row in listed]
    assert decided["status"] == "approved"
    assert run["status"] == "done"
    assert run["tool_calls_made"][0]["arguments"]["title"] == "Monitor of Emma flickers"
    assert asked["run_id"] in [row["run_id"] for row in runs]
    assert _json("approvals", "doubt", **omar) == []


@pytest.mark.row("S14", part="costs")
def test_what_was_consumed_is_told_to_who_consumed_it(server: Server) -> None:
    emma = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("emma")}
    _json("chat", "How do I report phishing?", **emma)

    told = _json("costs", **emma)
    others = _run("costs", "--scope", "tenant", **emma)
    table = _run("costs", **emma)

    assert sum(row["calls"] for row in told["costs"]) > 0
    assert {row["name"] for row in told["costs"]} == {"emma"}
    assert (others.returncode, "costs.read" in others.stderr) == (3, True)
    assert "together" in table.stdout


def test_lists_are_readable_for_people(server: Server) -> None:
    omar = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("omar")}
    asked = server.ask("Please open a ticket because my dock is dead.")

    listed = _run("approvals", "list", COLUMNS="160", **omar)
    shown = _run("approvals", "show", asked["drafts"][0], **omar)
    rejected = _run("approvals", "reject", asked["drafts"][0], "--reason", "twice", **omar)
    runs = _run("runs", "list", COLUMNS="160", **omar)

    assert "create_ticket_draft" in listed.stdout
    assert "emma" in shown.stdout
    assert "rejected" in rejected.stdout
    assert asked["run_id"] in runs.stdout


def test_ids_in_lists_are_whole_and_words_of_somebody_else_are_said_to_be_withheld(server: Server) -> None:
    run = _json("chat", "How do I reset my password?", QUARTERDECK_URL=server.url)["run_id"]
    omar = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("omar")}

    listed, shown = _run("runs", "list", **omar).stdout, _run("runs", "show", run, **omar).stdout

    assert run in listed
    assert "is shown to emma only" in shown
    assert "search_knowledge_base (t1c0) (withheld): ok" in shown
    assert "How do I reset" not in shown


@pytest.mark.row("O3", part="story")
def test_a_request_is_told_step_by_step_with_why_a_person_was_asked_and_what_he_said(server: Server) -> None:
    omar = {"QUARTERDECK_URL": server.url, "QUARTERDECK_KEY": server.key("omar")}
    question = {"message": "Please open a ticket because my headset crackles."}
    asked = server.send("POST", "/chat", question, headers={"X-Request-Id": "story-1"}).json
    _json("approvals", "approve", asked["drafts"][0], "--reason", "go ahead", **omar)
    server.ended(asked["run_id"])

    (run,) = _json("runs", "show", "story-1", "--url", server.url)["runs"]
    told = _run("runs", "show", "story-1", "--url", server.url).stdout

    steps = {step["kind"]: step["told"] for step in run["steps"]}
    assert (run["run_id"], run["request_id"], run["withheld"]) == (asked["run_id"], "story-1", False)
    assert steps["input"]["question"]["text"] == question["message"]
    assert steps["policy"]["verdict"] in ("approve", "allow")
    assert steps["policy"]["rule"]
    assert steps["approval_requested"]["draft"] == asked["drafts"][0]
    assert (steps["approval_decided"]["by"], steps["approval_decided"]["reason"]["text"]) == ("omar", "go ahead")
    assert (steps["tool"]["tool"], steps["tool"]["status"]) == ("create_ticket_draft", "ok")
    assert steps["model"]["prompt"]["messages"] or steps["model"]["prompt"]["as_before"]
    assert steps["answer"]["answer"]["text"] == run["answer"]
    for seen in ("create_ticket_draft", "go ahead", steps["policy"]["rule"], "USD", "given user [trusted]: Please open"):
        assert seen in told


@pytest.mark.row("O3", part="story")
def test_a_search_is_told_with_the_scores_of_what_it_found_and_what_the_answer_cites(server: Server) -> None:
    run_id = _json("chat", "How do I report phishing?", "--url", server.url)["run_id"]

    run = _json("runs", "show", run_id, "--url", server.url)
    told = _run("runs", "show", run_id, "--url", server.url).stdout

    found = next(step["told"] for step in run["steps"] if step["kind"] == "tool")
    (cited, *_) = run["steps"][-1]["told"]["citations"]
    assert found["passages"][0]["score"] > 0
    assert found["passages"][0]["text"]
    assert cited["passage"]["id"] in [passage["id"] for passage in found["passages"]]
    assert f"[{cited['passage']['id']}]" in told


def test_library_alone_says_what_its_command_line_needs() -> None:
    hidden = "import sys; sys.modules['typer'] = None; from quarterdeck.cli import main; main()"

    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, env=environment(), timeout=60)

    assert done.returncode == 1
    assert done.stderr == "error: the command line needs typer: pip install 'quarterdeck[server]'\n"


def test_chat_streams_the_answer_and_names_its_sources(server: Server) -> None:
    done = _run("chat", "How do I report phishing?", "--url", server.url)

    assert done.returncode == 0, done.stderr
    assert "Report phish" in done.stdout
    assert "[1] [phishing-2] Report phishing" in done.stdout
    assert "simulated" in done.stdout


@pytest.mark.row("P3", part="no server")
def test_chat_over_a_folder_needs_no_server(tmp_path: Path) -> None:
    done = _run(
        "chat",
        "How do I report phishing?",
        "--folder",
        str(EXAMPLE),
        "--json",
        QUARTERDECK_STORE__DATA=str(tmp_path / "data"),
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sources"]


def test_errors_are_one_line_and_an_exit_code(server: Server) -> None:
    missing = _run("runs", "show", "nope", "--url", server.url)
    refused = _run("approvals", "list", "--url", server.url, "--key", "wrong")
    silent = _run("runs", "list", "--url", "http://127.0.0.1:9")
    nowhere = _run("config", "/nowhere")

    assert (missing.returncode, refused.returncode, silent.returncode, nowhere.returncode) == (4, 3, 6, 2)
    for done in (missing, refused, silent, nowhere):
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


def test_documents_are_read_once_and_databases_are_brought_to_this_version(tmp_path: Path) -> None:
    data = str(tmp_path / "data")

    migrated = _json("migrate", str(EXAMPLE), "--data", data)
    first = _json("ingest", str(EXAMPLE), "--data", data)
    again = _json("ingest", str(EXAMPLE), "--data", data)
    shown = _run("ingest", str(EXAMPLE), "--data", data)

    assert migrated["status"] == "current"
    assert first[0]["added"] > 30
    assert first[0]["refused"] == []
    assert (again[0]["added"], again[0]["unchanged"]) == (0, first[0]["added"])
    assert "unchanged" in shown.stdout


@pytest.mark.row("L10", part="shown")
def test_settings_in_force_are_shown_and_secrets_are_masked() -> None:
    shown = _json("config", str(EXAMPLE), ENV="production", OPENAI_API_KEY="sk-canary")
    lines = _run("config", str(EXAMPLE), ENV="production", OPENAI_API_KEY="sk-canary").stdout

    assert shown["settings"]["env"] == "production"
    assert shown["settings"]["models"]["mode"] == "remote"
    assert "settings.models.mode = remote" in lines
    assert "canary" not in json.dumps(shown) + lines
