"""State by key (row R12) in a bucket of S3-compatible object storage: ``PREFIX/tenant/part/part.bin``, sealed.

The objects are laid out and sealed as the files of `FolderKeyValue` are, so that a folder can be copied into a bucket.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio import to_thread

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.keyvalue import check_key, state_uri, uri_key
from quarterdeck.store.seal import Seal

try:
    import obstore
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import S3Store
except ImportError as error:
    raise ImportError("install quarterdeck[s3]") from error

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["S3KeyValue"]

# What a URL may say; the rest is taken from the environment (AWS_ACCESS_KEY_ID, AWS_REGION, ...) or the machine's role.
_OPTIONS = frozenset(
    {
        "access_key_id",
        "disable_bulk_delete",
        "endpoint",
        "region",
        "secret_access_key",
        "server_side_encryption",
        "session_token",
        "skip_signature",
        "sse_kms_key_id",
        "virtual_hosted_style_request",
    }
)
_RETRIES = 3
_CONNECT_S = 5.0
_PER_REQUEST = 1000  # the most S3 lists or deletes at once


class S3KeyValue:
    """`KeyValue` in a bucket. The last of two saves of a key wins; a load sees one or the other, whole.

    Args:
        timeout_s: The longest one step takes: saving or loading a state, or forgetting a thousand of them.
    """

    scheme = "s3-state"

    def __init__(self, bucket: S3Store, seal: Seal, *, timeout_s: float) -> None:
        self._bucket = bucket
        self._seal = seal
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, url: str, *, secret: bytes, timeout_s: float = 30.0) -> Self:
        """The bucket of a URL: ``s3://BUCKET/PREFIX?endpoint=..&region=..``. Nothing is sent yet.

        Raises:
            Misconfigured: The URL is none, or has an option there is not.
        """
        bucket, prefix, options = _parsed(url)
        client: ClientConfig = {
            "timeout": timedelta(seconds=timeout_s),
            "connect_timeout": timedelta(seconds=min(_CONNECT_S, timeout_s)),
            "allow_http": options.get("endpoint", "").startswith("http://"),
        }
        retry: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=timeout_s)}
        try:
            config = cast("S3Config", options)
            store = S3Store(bucket, prefix=prefix, config=config, client_options=client, retry_config=retry)
        except (BaseError, ValueError):  # their messages may hold a key
            raise Misconfigured(f"the options of the bucket {bucket} of states are not valid") from None
        return cls(store, Seal(secret), timeout_s=timeout_s)

    async def save(self, tenant: str, key: str, payload: bytes) -> str:
        """Keep `payload`, replacing what was there; returns a URI for `load_uri`. In the bucket when it returns."""
        path = _path(tenant, key)
        data = await to_thread.run_sync(self._seal.close, tenant, key, payload)
        with self._deadline():
            # In parts it could be left half done in the bucket, where it is paid for and nobody sees it.
            await obstore.put_async(self._bucket, path, data, use_multipart=False)
        return state_uri(self.scheme, tenant, key)

    async def load(self, tenant: str, key: str) -> bytes | None:
        """What was saved, None if nothing was.

        Raises:
            Misconfigured: It was changed outside, or written with another secret.
        """
        path = _path(tenant, key)
        with self._deadline(), _absence():
            found = await obstore.get_async(self._bucket, path)
            data = (await found.bytes_async()).to_bytes()
            return await to_thread.run_sync(self._seal.open, tenant, key, data)
        return None

    async def load_uri(self, tenant: str, uri: str) -> bytes | None:
        """What `save` kept under the URI it returned; None for another tenant's."""
        key = uri_key(self.scheme, tenant, uri)
        return None if key is None else await self.load(tenant, key)

    async def clear(self, tenant: str, key: str | None = None) -> int:
        """Forget one key, or without a key all of the tenant's. Returns how many were forgotten.

        What is saved while all is being forgotten may stay.
        """
        if key is None:
            check_key(tenant, "all")
            return await self._clear_all(tenant)
        path = _path(tenant, key)
        with self._deadline(), _absence():
            await obstore.head_async(self._bucket, path)  # deleting does not tell whether there was something
            await obstore.delete_async(self._bucket, path)
            return 1
        return 0

    async def close(self) -> None:
        """Connections are let go with the object."""

    async def _clear_all(self, tenant: str) -> int:
        count = 0
        async for paths in self._paths(tenant):
            with self._deadline():
                await obstore.delete_async(self._bucket, paths)
            count += len(paths)
        return count

    async def _paths(self, tenant: str) -> AsyncIterator[list[str]]:
        """The objects of a tenant, by the thousand."""
        listed = aiter(obstore.list(self._bucket, tenant, chunk_size=_PER_REQUEST))
        while True:
            with self._deadline():
                found = await anext(listed, None)
            if found is None:
                return
            yield [item["path"] for item in found]

    @contextlib.contextmanager
    def _deadline(self) -> Iterator[None]:
        try:
            with anyio.fail_after(self._timeout_s):
                yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Misconfigured(
                "the bucket of states refuses these credentials: they need to get, put, delete and list"
            ) from error
        except (BaseError, OSError) as error:
            if isinstance(error, FileNotFoundError) or _without_bucket(error):
                raise Misconfigured("there is no such bucket of states") from error
            raise StoreUnavailable(f"the bucket of states does not answer: {type(error).__name__}") from error


@contextlib.contextmanager
def _absence() -> Iterator[None]:
    """An object that is not there ends the block; a bucket that is not there is an error."""
    try:
        yield
    except FileNotFoundError as error:
        if _without_bucket(error):
            raise


def _without_bucket(error: Exception) -> bool:
    return "<Code>NoSuchBucket</Code>" in str(error)  # the client has no class for it


def _path(tenant: str, key: str) -> str:
    return "/".join((tenant, *check_key(tenant, key))) + ".bin"


def _parsed(url: str) -> tuple[str, str | None, dict[str, str]]:
    """Bucket, prefix and options of a URL. Raises Misconfigured."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.fragment:
        raise Misconfigured("a bucket of states is named by a URL such as s3://BUCKET/PREFIX?region=eu-central-1")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        known = ", ".join(sorted(_OPTIONS))
        raise Misconfigured(f"the URL of the bucket of states has unknown options {unknown}; there are: {known}")
    return parts.netloc, parts.path.strip("/") or None, options
