"""The parts of a message as providers are sent them: their order, and pictures."""

from __future__ import annotations

from urllib.parse import urlsplit

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.messages import Image, Message, Opaque, Text, ToolCall
from quarterdeck.net.addresses import is_public

__all__ = ["Piece", "image_url", "in_order", "noted_text", "public_url"]

_PRIVATE_SUFFIXES = frozenset({"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost"})

Piece = Text | Image | Opaque | ToolCall


def in_order(message: Message, provider: str) -> list[Piece]:
    """What a message says and calls, in the order it was said; what is opaque only if it came from `provider`."""
    pieces: list[Piece] = [part for part in message.parts if isinstance(part, Image) or part.text]
    pieces += message.tool_calls
    opaque = [part for part in message.parts if isinstance(part, Opaque) and part.provider == provider]
    # From the last to the first, so that each finds the pieces before its place where they were.
    for part in reversed(opaque):
        pieces.insert(part.place, part)
    return pieces


def noted_text(message: Message) -> str:
    """The text of a message, with a note in place of each picture, for a reader of text alone."""
    if len(message.parts) == 1:
        return message.text or _note(message.parts[0])
    return "".join(part.text or _note(part) for part in message.parts)


def _note(part: Text | Image | Opaque) -> str:
    return f"[picture, {part.media_type}, not shown]" if isinstance(part, Image) else ""


def image_url(image: Image) -> str:
    """The picture as a URL, of its data or of where it is. Raises like `public_url`."""
    return public_url(image.url) if image.url else f"data:{image.media_type};base64,{image.data}"


def public_url(url: str) -> str:
    """`url`, if a provider may be asked to fetch it.

    We never fetch it, so no name is resolved here; but a provider that runs beside us must not be sent into our network.

    Raises:
        InvalidInput: It is not https, names a user, a port or an address that is not public.
    """
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError as error:
        raise InvalidInput("the address of a picture is no URL") from error
    if split.scheme != "https" or not host:
        raise InvalidInput("a picture's address must begin with https:// and name a host")
    if split.username is not None or split.password is not None or port not in (None, 443):
        raise InvalidInput("a picture's address may not hold a user or a port")
    last = host.rstrip(".").rpartition(".")[2]
    # A host whose last label begins with a digit is an address to whoever fetches it, in whatever notation.
    if ":" in host or last[:1].isdigit():
        closed = not is_public(host)
    else:
        closed = "." not in host.rstrip(".") or last in _PRIVATE_SUFFIXES
    if closed:
        raise InvalidInput(f"the address of a picture is not public: {host}")
    return url
