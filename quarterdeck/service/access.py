"""Who is calling: keys, people and what they may do."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Misconfigured, Unauthenticated
from quarterdeck.service.logins import Logins
from quarterdeck.service.refused import RefusedLogins

__all__ = ["SCOPES", "Access", "Caller", "Credentials", "Keys", "User", "narrowed"]

SCOPES: Mapping[str, str] = {
    "chat": "ask questions, keep sessions, see, steer and stop own runs, open documents",
    "approvals": "see and decide drafts that wait for one of the caller's roles",
    "operate": "see, steer and stop every run of the tenant, resolve writes in doubt",
    "documents.read": "list the documents one may read and their editions, and search them without a model",
    "documents.write": "bring documents in, open them to other groups, remove them: among those one may read",
    "costs.read": "see what the users, groups, agents, tools and runs of the tenant consumed, not only oneself",
    "webhooks": "have addresses told of what happens in every run of the tenant, and see what became of it",
    "audit.read": "read, check and export the audit log of the tenant: who did what, and nothing anybody said",
    "privacy": "hand out and erase everything of a person of the tenant, or of the tenant",
    "keys.write": "make API keys for oneself, see and take back those of the tenant",
    "metrics.read": "read the metrics of this process: counts and times of all tenants, and nothing anybody said",
    "history.write": "answer for earlier messages and the tools a client sends along, and speak in an application's name",
}
_OF_FILE = "file:"
_APART = 12  # characters that tell keys of one person apart


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or service that may call.

    Attributes:
        key: ``generated``, ``sha256:<hex>``, or None for somebody who cannot log in.
        default: The caller without a key, where that is allowed at all.
    """

    id: str
    tenant: str
    name: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    key: str | None = None
    default: bool = False

    @property
    def credential(self) -> str | None:
        """What tells the key from those before it, in what is known of somebody who came with one; None without a key."""
        return None if self.key is None else f"{_OF_FILE}{self.key.removeprefix('sha256:')[:_APART]}"

    @property
    def principal(self) -> Principal:
        return Principal(user=self.id, tenant=self.tenant, roles=self.roles, groups=self.groups, scopes=self.scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a transport knows of a request before it knows who is calling.

    Attributes:
        key: The API key as sent, None when there is none.
        forwarded: A proxy passed the request on, or somebody says so.
        known_origin: Host, and Origin if there is one, are names of this server.
        loopback: The connection comes from this machine.
        address: Where the request comes from, as far as is known.
    """

    key: str | None
    forwarded: bool
    known_origin: bool
    loopback: bool
    address: str = ""


class Keys:
    """Generated API keys of a data folder: ``keys`` for its owner to read, ``key-hashes.json`` to check against.

    A key is ``qd_`` and 256 random bits. The owner may delete ``keys`` once the keys are handed out; what is checked are
    hashes only, found by their first digits. A plain SHA-256 is right here: random keys need no slow hash.
    """

    def __init__(self, data: Path) -> None:
        self.readable = data / "keys"
        self._hashes = data / "key-hashes.json"

    def ensure(self, users: Iterable[str]) -> dict[str, str]:
        """Make keys for those users that have none yet; returns the new keys by user."""
        known = self.hashes()
        new = {user: f"qd_{secrets.token_hex(32)}" for user in users if user not in known}
        if new:
            known |= {user: f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" for user, key in new.items()}
            lines = self.readable.read_text(encoding="utf-8") if self.readable.exists() else ""
            _write_private(self.readable, lines + "".join(f"{user} {key}\n" for user, key in new.items()))
            _write_private(self._hashes, json.dumps(known, indent=1, sort_keys=True) + "\n")
        return new

    def hashes(self) -> dict[str, str]:
        """``sha256:<hex>`` by user."""
        try:
            found = json.loads(self._hashes.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Misconfigured(
                f"{self._hashes} is damaged: {error}; delete it and {self.readable} to make new keys"
            ) from error
        return {str(user): str(digest) for user, digest in found.items()}


class Credentials(Protocol):
    """A kind of credential beside the keys of the users file. Attributes: name: Of the kind, for the audit log."""

    name: str

    def meant(self, credential: str) -> bool:
        """Whether this has the form of one; then it is asked nowhere else."""
        ...

    async def holder(self, credential: str) -> Principal:
        """Who brings it, and what he may do. Raises Unauthenticated; Unavailable where that cannot be told now."""
        ...

    def tenant_of(self, credential: str) -> str | None:
        """The tenant in which there is what it names, though it let nobody in; None where there is no telling."""
        ...

    async def until(self, credential: str) -> datetime | None:
        """When it is over, None if it has no end. Raises as `holder` does."""
        ...

    async def current(self, principal: Principal) -> Principal | None:
        """The same of somebody it let in earlier; None if he may not act any more, or came otherwise."""
        ...

    async def ends(self, principal: Principal) -> datetime | None:
        """When what he came with is over, as it stands now; None if it has no end, or that is not known of him."""
        ...


@dataclass(frozen=True, slots=True)
class _People:
    """Those of a users file. Attributes: by_digest: Hashes of keys and whose they are, by their first digits."""

    by_id: Mapping[str, User]
    by_digest: Mapping[str, Sequence[tuple[bytes, User]]]
    default: User | None

    @classmethod
    def of(cls, users: Iterable[User], hashes: Mapping[str, str]) -> _People:
        by_id = {user.id: user for user in users}
        by_digest: dict[str, list[tuple[bytes, User]]] = {}
        for user in by_id.values():
            stored = hashes.get(user.id) if user.key == "generated" else user.key
            if stored:
                digest = stored.removeprefix("sha256:")
                by_digest.setdefault(digest[:8], []).append((digest.encode(), user))
        return cls(by_id, by_digest, next((user for user in by_id.values() if user.default), None))


class Access:
    """Turns a request into a principal. Also the directory that is asked again when a run is resumed.

    Args:
        hashes: ``sha256:<hex>`` of generated keys, by user.
        keyless: True lets the default user in without a key, on the conditions of `admit`. Only ever true for a
            development server bound to loopback.
        others: Credentials of people who do not stand in the users file.
        logins: Told who comes with a key of the users file; None for nobody.
        refused: Told who comes with something that lets nobody in.
    """

    def __init__(
        self,
        users: Iterable[User],
        hashes: Mapping[str, str],
        *,
        keyless: bool,
        others: Sequence[Credentials] = (),
        logins: Logins | None = None,
        refused: RefusedLogins | None = None,
    ) -> None:
        self._people = _People.of(users, hashes)
        self._lets_in_keyless = keyless
        self._others = tuple(others)
        self._logins = logins
        self._refused = refused

    def adopt(self, users: Iterable[User], hashes: Mapping[str, str]) -> None:
        """Know these people from now on, and nobody else of a users file; the arguments are those it was made with."""
        self._people = _People.of(users, hashes)

    @property
    def keyless(self) -> str | None:
        """Whom callers without a key are taken for, None if they are not let in."""
        return default.id if (default := self._default) else None

    @property
    def _default(self) -> User | None:
        return self._people.default if self._lets_in_keyless else None

    async def admit(self, caller: Caller) -> Principal:
        """The principal behind a request.

        Raises:
            Unauthenticated: The key is unknown; or there is none, and not all conditions of keyless entry hold.
            Unavailable: Who could tell cannot be asked now.
        """
        if caller.key is not None:
            return await self._bearer(caller.key, caller.address)
        default = self._default
        if default is None:
            raise Unauthenticated("this server wants a key: send 'Authorization: Bearer qd_...'")
        if caller.forwarded or not caller.known_origin or not caller.loopback:
            raise Unauthenticated(
                "without a key only direct calls from this machine are let in: send 'Authorization: Bearer qd_...'"
            )
        return default.principal

    async def until(self, caller: Caller) -> datetime | None:
        """When what lets the caller in is over, None if it has no end. Raises as `admit` does."""
        for kind in self._others:
            if caller.key is not None and kind.meant(caller.key):
                return await kind.until(caller.key)
        return None

    async def _bearer(self, credential: str, address: str) -> Principal:
        for kind in self._others:
            if kind.meant(credential):
                try:
                    return await kind.holder(credential)
                except Unauthenticated:
                    self._note(address, kind.name, kind.tenant_of(credential))
                    raise
        try:
            user = self._holder(credential)
        except Unauthenticated:
            self._note(address, "key", None)
            raise
        principal = replace(user.principal, credential=user.credential)
        if self._logins is not None:
            await self._logins.allowed(principal, "key")
        return principal

    def _note(self, address: str, by: str, tenant: str | None) -> None:
        if self._refused is not None:
            self._refused.note(address, by, tenant)

    def _holder(self, key: str) -> User:
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        for expected, user in self._people.by_digest.get(digest[:8], ()):
            if hmac.compare_digest(expected, digest.encode()):
                return user
        raise Unauthenticated("the key is not known here")

    async def current(self, principal: Principal) -> Principal | None:
        """`Directory`: the principal as the users file, or what else let him in, knows it now.

        Who came with something that can be taken back from him is nobody once it was, whoever knows him otherwise.
        """
        user, came = self._people.by_id.get(principal.user), principal.credential
        if user is not None and (came is None or came.startswith(_OF_FILE)):
            counts = user.tenant == principal.tenant and came in (None, user.credential)
            return replace(narrowed(user.principal, principal), credential=came) if counts else None
        for kind in self._others:
            if (found := await kind.current(principal)) is not None:
                return found
        return None

    async def ends(self, principal: Principal) -> datetime | None:
        """When what the principal came with is over, as it stands now; None if it has no end, or nothing is known of one."""
        for kind in self._others:
            if (end := await kind.ends(principal)) is not None:
                return end
        return None


def narrowed(person: Principal, credential: Principal) -> Principal:
    """A person with no more scopes than the credential had he came with; without any it was made from an id alone."""
    kept = tuple(scope for scope in person.scopes if scope in credential.scopes)
    return replace(person, scopes=kept) if credential.scopes else person


def _write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
