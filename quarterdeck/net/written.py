"""How an address must be written that is kept and called later: so that nobody who reads it understands another one."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from quarterdeck.core.errors import InvalidInput

__all__ = ["check_written"]

MAX_CHARS = 2_000
_FOREIGN = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")  # of RFC 3986, section 2
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|%0[aAdD]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_written(url: str) -> None:
    """Accept an http(s) URL with a host, in ASCII, without user, fragment or control characters.

    Raises:
        InvalidInput: It is another; the message says what is wrong, and never repeats a password.
    """
    if len(url) > MAX_CHARS:
        raise InvalidInput(f"url: has {len(url)} characters; at most {MAX_CHARS} are taken")
    if (foreign := _FOREIGN.search(url)) is not None:
        raise InvalidInput(f"url: {_named(foreign[0])} at position {foreign.start()} is none of a URL's characters")
    if (escape := _ESCAPE.search(url)) is not None:
        raise InvalidInput(f"url: the escape at position {escape.start()} is broken, or stands for NUL or a new line")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read where it is asked for
    except ValueError as error:
        raise InvalidInput("url: its host or port is malformed") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput("url: must begin with https:// or http:// and name a host")
    if "@" in parts.netloc:
        raise InvalidInput("url: must hold no user and no password")
    if "#" in url:
        raise InvalidInput("url: must hold no fragment (#): it would never be sent")
    _check_host(parts)


def _check_host(parts: SplitResult) -> None:
    host = (parts.hostname or "").removesuffix(".")
    labels = host.split(".")
    # Whoever resolves names takes such a one for an address, and reads 0x7f.1 as 127.0.0.1.
    if parts.netloc.startswith("[") or _NUMBER.fullmatch(labels[-1]):
        _check_address(host)
        return
    if len(host) > 253 or not all(map(_LABEL.match, labels)):
        raise InvalidInput("url: its host is no name that can be resolved")
    try:
        host.encode().decode("idna")
    except UnicodeError as error:
        raise InvalidInput("url: its host holds an xn-- form that stands for no name") from error


def _check_address(host: str) -> None:
    try:
        ip_address(host)
    except ValueError as error:
        raise InvalidInput("url: its host is an address in a form that is not taken; write it as a.b.c.d") from error


def _named(character: str) -> str:
    if character == " ":
        return "a space"
    if character.isascii():
        return f"character {ord(character):#04x}"
    return f"U+{ord(character):04X} (write a host in its xn-- form, anything else as %XX)"
