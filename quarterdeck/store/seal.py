"""Proof that bytes kept where others may write are the ones we wrote, for the same tenant and key."""

from __future__ import annotations

import hashlib
import hmac

from quarterdeck.core.errors import Misconfigured

__all__ = ["Seal"]

_MAC_BYTES = hashlib.sha256().digest_size


class Seal:
    """Puts an HMAC-SHA256 over tenant, key and payload before the payload, and checks it.

    An older payload of the same key, put back by somebody, passes: only what holds the newest could tell.

    Args:
        secret: The same for all who read and write; not empty.
    """

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise Misconfigured("state that leaves the database needs a secret to be sealed with")
        self._secret = secret

    def close(self, tenant: str, key: str, payload: bytes) -> bytes:
        """What is to be written."""
        return self._mac(tenant, key, payload) + payload

    def open(self, tenant: str, key: str, data: bytes) -> bytes:
        """The payload of what was read.

        Raises:
            Misconfigured: It was not written by us for this tenant and key.
        """
        view = memoryview(data)
        payload = view[_MAC_BYTES:]
        if not hmac.compare_digest(view[:_MAC_BYTES], self._mac(tenant, key, payload)):
            raise Misconfigured(f"the state {tenant}/{key} was changed outside, or written with another secret")
        return bytes(payload)

    def _mac(self, tenant: str, key: str, payload: bytes | memoryview) -> bytes:
        # Neither a tenant nor a key can hold NUL, so that no other split of the same bytes gives the same code.
        mac = hmac.new(self._secret, f"{tenant}/{key}\0".encode(), "sha256")
        mac.update(payload)
        return mac.digest()
