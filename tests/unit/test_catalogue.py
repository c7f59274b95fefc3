from __future__ import annotations

from tests.catalogue import ELSEWHERE, TESTS, missing, shown


def test_every_row_of_the_server_has_a_test() -> None:
    assert missing(shown()) == []


def test_every_test_the_catalogue_names_is_there() -> None:
    gone = [
        name
        for names in ELSEWHERE.values()
        for name in names
        if f"def {name.partition('::')[2]}(" not in (TESTS / name.partition("::")[0]).read_text(encoding="utf-8")
    ]

    assert gone == []
