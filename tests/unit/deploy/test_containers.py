"""What containers are made from, read without an engine: the Compose file and the Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.engines import rendered
from quarterdeck.settings import load
from quarterdeck.store.strict_yaml import read_yaml

pytestmark = pytest.mark.row("P1", part="files")

ROOT = Path(__file__).parents[3]
COMPOSE: Mapping[str, Any] = read_yaml((ROOT / "docker-compose.yml").read_text(), "docker-compose.yml").data
SERVICES: Mapping[str, Any] = COMPOSE["services"]
PINNED = re.compile(r"[a-z0-9./-]+:\d+\.\d+(\.\d+)?[a-z0-9.-]*\Z")


def instructions() -> list[tuple[str, str]]:
    """Word and rest of each instruction of the Dockerfile, continued lines as one."""
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_compose_file_has_the_topology() -> None:
    replicas = {name: service.get("deploy", {}).get("replicas", 1) for name, service in SERVICES.items()}

    assert replicas == {"nginx": 1, "api": 3, "worker": 2, "postgres": 1, "redis": 1}
    assert SERVICES["nginx"]["ports"] == ["80:80"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert SERVICES["postgres"]["image"].startswith("pgvector/pgvector:")


@pytest.mark.parametrize("name", ["nginx", "api", "postgres", "redis"])
def test_every_service_that_listens_is_watched(name: str) -> None:
    check = SERVICES[name]["healthcheck"]

    assert (check["interval"], check["timeout"], check["retries"]) == ("10s", "5s", 3)
    assert check["test"][0] == "CMD"


def test_images_are_pinned_by_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    images += [rest.split()[0] for word, rest in instructions() if word == "FROM"]

    assert len(images) == 6
    assert [image for image in images if PINNED.match(image) is None] == []


def test_no_secret_stands_in_the_file() -> None:
    telling = re.compile(r"PASSWORD|KEY|SECRET|TOKEN|DATABASE_URL")
    values = {
        f"{service}.{name}": re.sub(r"\$\{[A-Z_]+:[-?][^}]*\}", "", value)
        for service, about in SERVICES.items()
        for name, value in about.get("environment", {}).items()
        if telling.search(name)
    }

    assert len(values) == 4
    assert set(values.values()) <= {"", "postgresql://quarterdeck:@postgres:5432/quarterdeck"}


def test_what_services_name_is_declared() -> None:
    mounts = [mount.split(":")[:2] for service in SERVICES.values() for mount in service.get("volumes", ())]
    networks = {network for service in SERVICES.values() for network in service.get("networks", ())}
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", {})}

    assert {source for source, _ in mounts if not source.startswith("./")} == set(COMPOSE["volumes"])
    assert [source for source, _ in mounts if source.startswith("./") and not (ROOT / source).exists()] == []
    assert networks == set(COMPOSE["networks"])
    assert needed <= set(SERVICES)


def test_stores_are_reached_by_replicas_and_workers_only() -> None:
    # A worker has what the replica has; see `extends`.
    in_stores = {name for name, service in SERVICES.items() if "stores" in service.get("networks", ())}

    assert COMPOSE["networks"]["stores"] == {"internal": True}
    assert in_stores == {"api", "postgres", "redis"}
    assert SERVICES["worker"]["extends"] == {"service": "api"}


def test_replicas_stop_in_peace_and_hold_no_rights() -> None:
    api = SERVICES["api"]

    assert api["stop_grace_period"] == "30s"
    assert (api["read_only"], api["cap_drop"], api["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])


def test_settings_of_replicas_and_workers_are_understood(tmp_path: Path) -> None:
    given = {"ENV": "dev", "OPENAI_API_KEY": "", "DATABASE_PASSWORD": "secret"}
    environ = {
        name: re.sub(r"\$\{([A-Z_]+):[-?][^}]*\}", lambda found: given[found[1]], value)
        for name, value in SERVICES["api"]["environment"].items()
    }

    settings = load(ROOT / "examples" / "support_desk", environ, {"store": {"data": str(tmp_path)}}).settings

    assert settings.store.database_url is not None
    assert settings.store.database_url.get_secret_value() == "postgresql://quarterdeck:secret@postgres:5432/quarterdeck"
    assert settings.worker.in_server is False


def test_nginx_gets_the_names_of_its_template() -> None:
    environ = SERVICES["nginx"]["environment"]
    template = (ROOT / "deploy" / "nginx.conf.template").read_text()

    text = rendered(listen=environ["LISTEN"], api_servers=environ["API_SERVERS"], access_log=environ["ACCESS_LOG"])

    assert set(re.findall(r"\$\{(\w+)\}", template)) == set(environ)
    assert "listen 80 backlog" in text
    assert text.count("server api:8080 resolve") == 4


def test_image_is_built_in_two_stages_from_hashed_packages_only() -> None:
    stages = [rest for word, rest in instructions() if word == "FROM"]
    installs = [rest for word, rest in instructions() if word == "RUN" and " install " in rest and "pip" in rest]

    assert len(stages) == 2
    assert "--require-hashes -r requirements-fleet.lock" in installs[0]
    assert all("--no-deps --no-build-isolation" in install for install in installs[1:])
    assert [rest.split()[0] for word, rest in instructions() if word == "COPY"][-1] == "--from=build"


def test_image_serves_as_nobody_special_and_is_watched() -> None:
    last = dict(instructions())  # of each word the last: the second stage

    assert last["USER"].isdecimal()
    assert int(last["USER"]) > 0
    assert {"--interval=10s", "--timeout=5s", "--retries=3"} <= set(shlex.split(last["HEALTHCHECK"]))
    assert json.loads(last["ENTRYPOINT"]) == ["quarterdeck"]
    assert json.loads(last["CMD"]) == SERVICES["api"]["command"]


def test_what_the_build_copies_is_let_through_and_nothing_else() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }

    assert ignore[0] == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == {*copied, "deploy/Dockerfile"}
    assert [source for source in copied if not (ROOT / source).exists()] == []
