"""Whose word is taken for where a request comes from."""

from __future__ import annotations

import pytest

from quarterdeck.transports.proxies import Proxies, brings_others

pytestmark = pytest.mark.row("S9", part="proxies")

OURS = Proxies(["10.0.0.0/24", "127.0.0.1/32", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # a stranger says it of himself
        ("10.0.0.5", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.5", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),  # what stands before it the client made up
        ("10.0.0.5", ["198.51.100.1, 10.0.0.7"], "198.51.100.1"),  # two proxies in a row
        ("10.0.0.5", ["198.51.100.1", "203.0.113.4"], "203.0.113.4"),  # two headers are one list
        ("10.0.0.5", ["198.51.100.1, unknown"], "10.0.0.5"),
        ("10.0.0.5", ["198.51.100.1, "], "10.0.0.5"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["10.0.0.6, 10.0.0.7"], "10.0.0.6"),
        ("::ffff:10.0.0.5", ["198.51.100.1:4711"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.5", ["198.51.100.1\r\nx"], "10.0.0.5"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_caller_is_the_last_one_named_who_is_no_proxy_of_ours(peer: str, forwarded: list[str], client: str) -> None:
    assert OURS.client(peer, forwarded) == client


def test_without_proxies_nobody_is_believed() -> None:
    assert Proxies().client("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"
    assert not Proxies().known("127.0.0.1")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "forwarded", "Via", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"])
def test_header_of_a_proxy_says_that_others_stand_behind_it(name: str) -> None:
    assert brings_others([name])
    assert not brings_others(["host", "authorization"])
