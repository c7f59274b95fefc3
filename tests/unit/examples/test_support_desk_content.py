"""The example's articles, people, prompts and cases are sound on their own, before any server reads them."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from quarterdeck import settings
from quarterdeck.core.ids import check_id
from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.ingest import Ingester
from quarterdeck.knowledge.parsers import markdown

FOLDER = Path(__file__).parents[3] / "examples" / "support_desk"
ARTICLES = sorted((FOLDER / "knowledge").glob("*.md"))
GROUPS = {"everyone", "hr", "managers", "it-admins"}
TOOLS = {"search_knowledge_base", "get_ticket_status", "create_ticket_draft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A prompt or an evaluation case, as far as both have the same parts."""

    id: str
    user: str
    text: str
    sources: tuple[str, ...]
    contains: tuple[str, ...]
    tools: tuple[str, ...]


def prompts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "prompts.yaml").read_text(encoding="utf-8"))["prompts"]
    return found


def dataset() -> list[dict[str, Any]]:
    lines = (FOLDER / "evals" / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def cases() -> list[Case]:
    from_prompts = [
        Case(
            id=f"prompt-{row['id']}",
            user=row["user"],
            text=row["message"],
            sources=tuple(row["expect"].get("sources", ())),
            contains=tuple(row["expect"].get("contains", ())),
            tools=tuple(row["expect"]["tools"]),
        )
        for row in prompts()
    ]
    from_dataset = [
        Case(
            id=f"case-{row['id']}",
            user=row["user"],
            text=row["input"],
            sources=tuple(row["expected_sources"]),
            contains=tuple(row["expected"]),
            tools=(*row["expected_tools"], *row["forbidden_tools"]),
        )
        for row in dataset()
    ]
    return from_prompts + from_dataset


def test_there_are_enough_articles_in_both_languages() -> None:
    languages = Counter(str(markdown.parse(path.read_bytes()).front["language"]) for path in ARTICLES)

    assert len(ARTICLES) >= 34
    assert languages["zh"] >= 7
    assert set(languages) == {"en", "zh"}


@pytest.mark.parametrize("path", ARTICLES, ids=lambda path: path.stem)
def test_article_says_what_it_is_and_who_may_read_it(path: Path) -> None:
    article = markdown.parse(path.read_bytes())

    assert check_id(path.stem) == path.stem
    assert set(article.front) == {"title", "groups", "language", "updated", "uri"}
    assert article.front["title"]
    assert set(article.front["groups"]) <= GROUPS
    assert len(article.front["groups"]) >= 1
    assert date.fromisoformat(str(article.front["updated"]))
    assert article.front["uri"] == f"https://intranet.acme.example/kb/{path.stem}"
    assert has_cjk(article.text) == (article.front["language"] == "zh")


@pytest.mark.parametrize("path", ARTICLES, ids=lambda path: path.stem)
def test_article_has_sections_and_is_neither_thin_nor_endless(path: Path) -> None:
    article = markdown.parse(path.read_bytes())

    words = len(article.text.split()) if article.front["language"] == "en" else len(article.text) // 2

    assert 150 <= words <= 400
    assert len({block.heading_path for block in article.blocks}) >= 3
    assert re.search(r"\d", article.text)


async def test_every_article_is_ingested_under_its_file_name_and_readable_by_its_groups(tmp_path: Path) -> None:
    index = await SqliteIndex.open(tmp_path / "knowledge.sqlite3")

    report = await Ingester(index, "acme").ingest_folder(FOLDER / "knowledge", trusted=True)

    stats = await index.stats("acme")
    article = await index.document("acme", "salary-bands", frozenset({"hr"}))
    hidden = await index.document("acme", "salary-bands", frozenset({"everyone"}))
    await index.close()
    assert (report.added, report.refused, report.warnings) == (len(ARTICLES), (), ())
    assert stats.documents == len(ARTICLES)
    assert article is not None
    assert article.title == "Salary bands and pay decisions"
    assert hidden is None


def test_every_group_has_articles_of_its_own() -> None:
    owners = Counter(group for path in ARTICLES for group in markdown.parse(path.read_bytes()).front["groups"])

    assert set(owners) == GROUPS
    assert owners["hr"] >= 3
    assert owners["managers"] >= 3
    assert owners["it-admins"] >= 1


def test_no_two_articles_have_the_same_title() -> None:
    titles = Counter(markdown.parse(path.read_bytes()).front["title"] for path in ARTICLES)

    assert titles.most_common(1)[0][1] == 1


def test_folder_is_a_valid_configuration() -> None:
    configuration = settings.load(FOLDER, {})

    agent = configuration.agents["support"]
    assert configuration.default_agent == "support"
    assert set(agent.tools) == TOOLS
    assert configuration.settings.server.host == "127.0.0.1"
    assert configuration.settings.server.port == 8080
    assert [collection.tenant for collection in configuration.settings.knowledge.collections] == ["acme"]


def test_people_have_the_roles_and_groups_of_the_example() -> None:
    people = {user.id: user for user in settings.load(FOLDER, {}).users}

    default = [user for user in people.values() if user.default]
    approvers = [user for user in people.values() if "approver" in user.roles]
    assert [user.groups for user in default] == [("everyone",)]
    assert all("approvals" not in user.scopes for user in default)
    assert sorted(user.tenant for user in approvers) == ["acme", "globex"]  # no draft waits for nobody
    assert all("approvals" in user.scopes for user in approvers)
    assert {group for user in people.values() for group in user.groups} == GROUPS
    assert {user.tenant for user in people.values()} == {"acme", "globex"}


def test_no_key_and_no_hash_is_committed() -> None:
    made = {".quarterdeck", "__pycache__"}
    committed = [path for path in FOLDER.rglob("*") if path.is_file() and made.isdisjoint(path.parts)]

    users = settings.load(FOLDER, {}).users

    assert {user.key for user in users} == {"generated"}
    for path in committed:
        assert not re.search(r"\bqd_[0-9a-f]|sha256:|\b[0-9a-f]{32,}\b", path.read_text(encoding="utf-8")), path.name


def test_there_are_ten_prompts_and_twenty_cases_or_more() -> None:
    prompt_ids = [row["id"] for row in prompts()]
    case_ids = [row["id"] for row in dataset()]

    assert len(set(prompt_ids)) == len(prompt_ids) == 10
    assert len(set(case_ids)) == len(case_ids) >= 20


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_case_expects_only_what_exists_and_what_its_user_may_read(case: Case) -> None:
    people = {user.id: user for user in settings.load(FOLDER, {}).users}
    articles = {path.stem: markdown.parse(path.read_bytes()) for path in ARTICLES}

    sources = [articles[source] for source in case.sources]

    assert set(case.tools) <= TOOLS
    assert all(set(source.front["groups"]) & set(people[case.user].groups) for source in sources)
    if sources and "get_ticket_status" not in case.tools:
        assert all(part in " ".join(source.text for source in sources) for part in case.contains)


def test_cases_that_must_refuse_expect_no_source() -> None:
    refusing = [row for row in dataset() if row["must_refuse"]]

    assert len(refusing) >= 2
    assert all(not row["expected_sources"] and not row["must_cite"] and not row["expected"] for row in refusing)


KNOWLEDGE = [json.loads(line) for line in (FOLDER / "evals" / "knowledge.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.row("K9", part="questions")
def test_questions_of_knowledge_are_of_every_kind_in_both_languages() -> None:
    kinds = Counter((row["tags"][0], row["tags"][1]) for row in KNOWLEDGE)

    assert len(KNOWLEDGE) >= 64
    assert set(kinds) == {
        (kind, tongue) for kind in ("answerable", "unanswerable", "partly", "forbidden") for tongue in ("en", "zh")
    }


@pytest.mark.parametrize("row", KNOWLEDGE, ids=lambda row: row["id"])
def test_what_a_question_of_knowledge_expects_stands_in_an_article_its_asker_may_read(row: dict[str, Any]) -> None:
    people = {user["id"]: user for user in yaml.safe_load((FOLDER / "users.yaml").read_text(encoding="utf-8"))["users"]}
    asker = people[row["user"]]
    articles = [
        markdown.parse((FOLDER / "knowledge" / f"{name}.md").read_bytes()) for name in row.get("expected_sources", ())
    ]
    text = "\n".join(article.text for article in articles)

    assert all(set(article.front["groups"]) & set(asker["groups"]) for article in articles)
    assert all(expected.lower() in text.lower() for expected in row.get("expected", ()))


@pytest.mark.parametrize("row", [row for row in KNOWLEDGE if "forbidden" in row["tags"]], ids=lambda row: row["id"])
def test_what_a_question_may_not_be_told_stands_in_no_article_its_asker_may_read(row: dict[str, Any]) -> None:
    people = {user["id"]: user for user in yaml.safe_load((FOLDER / "users.yaml").read_text(encoding="utf-8"))["users"]}
    asker = people[row["user"]]
    closed = [
        article.text
        for path in ARTICLES
        if not set((article := markdown.parse(path.read_bytes())).front["groups"]) & set(asker["groups"])
        or asker["tenant"] != "acme"
    ]

    assert any(all(text.lower() in article.lower() for text in row["forbidden"]) for article in closed)
