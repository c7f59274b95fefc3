"""Signed checkpoints of the audit log: what was its end, and when, in words that only the holder of a key can say.

Kept in a second place they show what the database alone cannot: that rows were cut off at the end together with the head
row, or that a whole chain was written anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quarterdeck.core.errors import InvalidInput, Misconfigured
from quarterdeck.core.ids import canonical_json

__all__ = ["Checkpoint", "CheckpointPlace", "PublicKeys", "Signer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The end of a tenant's audit log at an instant.

    Attributes:
        seq, hash: Of its last row.
        at: When it was signed, aware UTC, ISO 8601.
        key: Which key signed: the public key, hexadecimal.
        signature: Ed25519 over the canonical JSON of the other fields, hexadecimal.
    """

    tenant: str
    seq: int
    hash: str
    at: str
    key: str
    signature: str

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return _signed(self.tenant, self.seq, self.hash, self.at, self.key)

    @property
    def line(self) -> str:
        """As a line of a file, without its end."""
        return canonical_json(
            {
                "tenant": self.tenant,
                "seq": self.seq,
                "hash": self.hash,
                "at": self.at,
                "key": self.key,
                "signature": self.signature,
            }
        )

    @classmethod
    def parse(cls, line: str | bytes) -> Self:
        """What `line` made. Raises InvalidInput for anything else."""
        try:
            told: Any = json.loads(line)
            names = ("tenant", "hash", "at", "key", "signature")
            if not isinstance(told, Mapping) or type(told["seq"]) is not int:
                raise TypeError
            return cls(seq=told["seq"], **{name: _text(told[name]) for name in names})
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput("a line of the checkpoints is none: it was changed, or cut") from error


class CheckpointPlace(Protocol):
    """A second place, outside of what holds the audit log. May raise StoreUnavailable."""

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Add it to those that are kept."""
        ...

    async def latest(self, tenant: str) -> Checkpoint | None:
        """The one with the largest seq; None if there is none, or the place cannot be read."""
        ...

    async def close(self) -> None: ...


class Signer:
    """A private key, made at first use in a file that only its owner may read."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()

    @classmethod
    def of(cls, path: Path) -> Self:
        """The key in a file, PEM; its public half lies beside it with the suffix ``.pub``. Blocks.

        Raises Misconfigured if the file holds no such key.
        """
        if not path.exists():
            _make(path)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise Misconfigured(
                f"{path} is damaged: {error}; put it back, or take it away to have a new key made"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Misconfigured(f"{path} holds a key of another kind; checkpoints are signed with Ed25519")
        return cls(key)

    def sign(self, tenant: str, seq: int, own: str, at: datetime) -> Checkpoint:
        """A checkpoint of a tenant's log that ends with row `seq`, whose hash is `own`."""
        stamp = at.isoformat()
        signature = self._key.sign(_signed(tenant, seq, own, stamp, self.public)).hex()
        return Checkpoint(tenant=tenant, seq=seq, hash=own, at=stamp, key=self.public, signature=signature)


class PublicKeys:
    """Who may sign checkpoints."""

    def __init__(self, keys: Iterable[str]) -> None:
        """
        Args:
            keys: Public keys, hexadecimal.
        """
        self._keys = {key: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in keys}

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Self:
        """Keys in PEM files. Raises Misconfigured for one that holds none."""
        found = []
        for path in paths:
            try:
                key = serialization.load_pem_public_key(path.read_bytes())
            except (OSError, ValueError) as error:
                raise Misconfigured(f"{path} holds no public key: {error}") from error
            if not isinstance(key, Ed25519PublicKey):
                raise Misconfigured(f"{path} holds a key of another kind; checkpoints are signed with Ed25519")
            found.append(key.public_bytes_raw().hex())
        return cls(found)

    def vouch(self, checkpoint: Checkpoint) -> bool:
        """Whether one of them signed it."""
        key = self._keys.get(checkpoint.key)
        if key is None:
            return False
        try:
            key.verify(bytes.fromhex(checkpoint.signature), checkpoint.signed)
        except (InvalidSignature, ValueError):
            return False
        return True


def _signed(tenant: str, seq: int, own: str, at: str, key: str) -> bytes:
    return canonical_json({"tenant": tenant, "seq": seq, "hash": own, "at": at, "key": key}).encode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _make(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.with_suffix(".pub").write_bytes(public)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(private)
