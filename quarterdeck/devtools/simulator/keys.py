"""Whether a request brings a key, in the words providers refuse it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quarterdeck.devtools.simulator.refusals import Dialect, Refusal

__all__ = ["check_key"]


def check_key(headers: Mapping[bytes, bytes], dialect: Dialect, accepted: Sequence[str]) -> None:
    """Refuse a request without a key, and one whose key is not among the accepted, if any are named."""
    if not accepted and dialect == "openai" and headers.get(b"authorization", b"").strip()[:7] == b"Bearer ":
        return
    bearer = headers.get(b"authorization", b"").decode("latin-1")
    key = headers.get(b"x-api-key") if dialect == "anthropic" else headers.get(b"api-key")
    given = key.decode("latin-1") if key is not None else bearer[7:].strip() if bearer[:7].lower() == "bearer " else ""
    if dialect == "anthropic":
        if not given:
            raise Refusal(401, "x-api-key header is required")
        if accepted and given not in accepted:
            raise Refusal(401, "invalid x-api-key")
        return
    if not given:
        text = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise Refusal(401, text)
    if accepted and given not in accepted:
        shown = f"{given[:3]}{'*' * 8}{given[-4:]}" if len(given) > 12 else "*" * 8
        raise Refusal(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")
