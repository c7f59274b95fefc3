"""Sharing words with a question is not speaking of what it asks for."""

from __future__ import annotations

import pytest

from quarterdeck.models.simulation.coherence import AskedFor
from quarterdeck.models.simulation.extract import pick
from quarterdeck.models.simulation.language import concepts
from quarterdeck.models.simulation.results import Source


def share(question: str, text: str, *otherwise: str) -> float:
    return AskedFor(question, concepts(question, translate=False)).share(text, otherwise)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How do I order garden furniture?", "Garden furniture is ordered in spring."),
        ("How do I order garden furniture?", "Furniture for the garden is ordered in spring."),
        ("What is the weight of the crate?", "The crate has a weight of 12 kg."),
        ("How many chairs does the hall have?", "The hall has 40 wooden chairs."),
        ("How many days may I keep a book?", "A book is lent for three weeks."),
        ("What is the best way to clean the kettle?", "Clean the kettle with vinegar."),
        ("园子里有多少把椅子？", "园子里有椅子。"),
    ],
    ids=["together", "the other way round", "its name", "counted", "another unit of time", "a way is no thing", "chinese"],
)
def test_text_that_speaks_of_what_is_asked_for_keeps_all_that_speaks_for_it(question: str, text: str) -> None:
    assert share(question, text) == 1.0


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            "How do I order garden furniture?",
            "The garden opens at 9. Boxes of the shop are sent by order with the furniture.",
        ),
        ("What is the fire drill?", "Every drill is oiled once a year."),
        ("Who is the warden of the garden gate?", "The garden gate closes at 8."),
        ("Is there a tax on the garden gate?", "The garden gate closes at 8."),
        ("How many chairs does the hall have?", "The hall has chairs and opens for 8 hours."),
    ],
    ids=["words apart", "one word of two", "who it is is missing", "what it is is missing", "number of something else"],
)
def test_text_that_shares_words_only_keeps_less(question: str, text: str) -> None:
    assert share(question, text) < 1.0


def test_what_is_called_otherwise_is_the_thing_too() -> None:
    assert share("What is the daily allowance?", "The per diem is 50 EUR.", "allowanc", "daily") == 1.0


def test_passage_that_has_the_words_and_not_the_thing_is_no_answer_however_sure_the_search_is() -> None:
    source = Source("a-1", "Shop", "Tickets for the garden are sold at the gate. The shop has furniture.", 0.7)

    assert pick("How do I order garden furniture?", "", [source]) == []
    assert pick("How do I order furniture?", "", [source]) != []


def test_passage_that_counts_the_thing_goes_before_one_that_names_it() -> None:
    names = Source("a-1", "Chairs", "Chairs of the hall are carried by two people.", 0.6)
    counts = Source("a-2", "Hall", "It has 40 chairs.", 0.6)

    picked = pick("How many chairs does the hall have?", "", [names, counts])

    assert picked[0].source == "a-2"
