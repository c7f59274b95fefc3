"""Pictures, what is opaque, and the order of what a message holds."""

from __future__ import annotations

import json

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.messages import Image, Message, Opaque, Role, Text, ToolCall
from quarterdeck.models.base import ModelRequest
from quarterdeck.models.parts import in_order, noted_text, public_url
from quarterdeck.models.simulated import SimulatedModel
from quarterdeck.models.tokens import IMAGE_TOKENS, part_tokens
from quarterdeck.store.codec import from_json, to_json
from tests.provider import context, said
from tests.unit.models.talk import TRUSTED

PICTURE = Image(media_type="image/png", data="aGk=", label=TRUSTED)


def opaque(name: str, place: int, provider: str = "anthropic") -> Opaque:
    return Opaque(provider=provider, item={"name": name}, place=place, label=TRUSTED)


def test_what_is_opaque_stands_where_it_stood() -> None:
    text = Text(text="Hello.", label=TRUSTED)
    first, second = ToolCall(id="a", name="f"), ToolCall(id="b", name="f")
    parts = (text, opaque("0a", 0), opaque("0b", 0), opaque("2", 2), opaque("far", 9), opaque("other", 0, "openai"))

    pieces = in_order(Message(role=Role.ASSISTANT, parts=parts, tool_calls=(first, second)), "anthropic")

    names = [piece.item["name"] if isinstance(piece, Opaque) else piece for piece in pieces]
    assert names == ["0a", "0b", text, first, "2", second, "far"]


def test_parts_are_stored_readably_and_come_back() -> None:
    message = Message(role=Role.USER, parts=(Text(text="What is it?", label=TRUSTED), PICTURE, opaque("x", 1)))

    stored = to_json(message)

    assert [sorted(part) for part in stored["parts"]] == [
        ["label", "text"],
        ["data", "label", "media_type"],
        ["item", "label", "place", "provider"],
    ]
    assert from_json(Message, json.loads(json.dumps(stored))) == message


def test_a_picture_and_what_is_opaque_have_no_words_but_cost_tokens() -> None:
    message = Message(role=Role.USER, parts=(*said(Role.USER, "Look:").parts, PICTURE))
    thinking = Opaque(provider="anthropic", item={"signature": "x" * 600}, label=TRUSTED)

    assert message.text == "Look:"
    assert noted_text(message) == "Look:[picture, image/png, not shown]"
    assert (part_tokens(PICTURE), part_tokens(thinking)) == (IMAGE_TOKENS, 100)


async def test_the_simulated_model_says_that_it_does_not_look() -> None:
    shown = Message(role=Role.USER, parts=(*said(Role.USER, "What is on this picture?").parts, PICTURE))

    reply = await SimulatedModel().complete(ModelRequest(messages=(shown,)), context())

    assert "have not looked at the picture" in reply.text
    assert reply.usage.prompt_tokens > IMAGE_TOKENS


@pytest.mark.parametrize("fields", [{}, {"data": "aGk=", "url": "https://a.example/b.png"}], ids=["neither", "both"])
def test_a_picture_has_either_bytes_or_an_address(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        Image(media_type="image/png", label=TRUSTED, **fields)


@pytest.mark.parametrize(
    "url", ["https://pictures.example/a.png?b=1", "https://8.8.8.8/x", "https://a.example:443/", "https://3m.com/a"]
)
def test_a_public_address_may_be_fetched_by_a_provider(url: str) -> None:
    assert public_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,aGk=",
        "https://",
        "https://user:pw@pictures.example/",
        "https://pictures.example:8443/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.7/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://localhost/",
        "https://printer/",
        "https://metadata.google.internal/",
        "https://nas.local./",
        "https://a.example:x/",
    ],
)
def test_no_provider_is_sent_into_our_network(url: str) -> None:
    with pytest.raises(InvalidInput):
        public_url(url)
