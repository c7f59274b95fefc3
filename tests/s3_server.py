"""An S3 for tests: moto's server in a thread, on a free port of the loopback interface, with one bucket per test."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

_CREDENTIALS = "access_key_id=test&secret_access_key=test"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """Where it listens, and what its buckets are reached by."""

    host: str
    port: int

    def new_bucket(self, name: str) -> None:
        self._asked("PUT", f"/{name}")

    def put(self, bucket: str, path: str, data: bytes) -> None:
        self._asked("PUT", f"/{bucket}/{path}", data)

    def get(self, bucket: str, path: str) -> bytes:
        return self._asked("GET", f"/{bucket}/{path}")

    def url(self, bucket: str, prefix: str = "") -> str:
        return f"s3://{bucket}/{prefix}?endpoint=http://{self.host}:{self.port}&region=us-east-1&{_CREDENTIALS}"

    def _asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Authorization": "AWS test:test"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, data
        return data


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(host=host, port=port)
    server.stop()


@pytest.fixture(scope="session")
def _bucket_numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def s3_bucket(s3_server: S3Server, _bucket_numbers: Iterator[int]) -> str:
    """The name of an empty bucket."""
    name = f"bucket-{next(_bucket_numbers)}"
    s3_server.new_bucket(name)
    return name


@pytest.fixture
def s3_url(s3_server: S3Server, s3_bucket: str) -> str:
    """Of a place in an empty bucket."""
    return s3_server.url(s3_bucket, "states/of-tests")
