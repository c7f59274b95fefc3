from __future__ import annotations

import re
from pathlib import Path

from quarterdeck.core.runs import StopReason
from quarterdeck.transports.http.errors import STATUS

from .conftest import Served
from .test_access_of_routes import routes_of

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "http.md").read_text()


async def test_every_route_stands_on_the_page_and_every_one_on_the_page_exists(served: Served) -> None:
    there = {
        f"{method} {route.path}"
        for route in routes_of(served)
        if route.include_in_schema
        for method in route.methods - {"HEAD"}
    }
    told = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`]*)`", PAGE.split("## Routes")[1].split("## Answers")[0]))

    assert told == there


def test_every_error_code_stands_on_the_page_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}

    assert told == dict(STATUS)


def test_every_stop_reason_stands_on_the_page() -> None:
    missing = [reason.value for reason in StopReason if f"`{reason.value}`" not in PAGE]

    assert missing == []
