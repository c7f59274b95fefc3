"""One server per data folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.store.lock import FolderLock

HOLD = """
import sys
from quarterdeck.store.lock import FolderLock
with FolderLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_server_is_refused_with_folder_and_process(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "data"), pytest.raises(Misconfigured) as caught:
        FolderLock(tmp_path / "data").acquire()

    assert str(tmp_path / "data") in str(caught.value)
    assert f"process {os.getpid()}" in str(caught.value)


def test_released_folder_can_be_taken_again(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()

    with FolderLock(tmp_path), pytest.raises(Misconfigured):  # it is held, so nobody else gets it
        FolderLock(tmp_path).acquire()


def test_killed_server_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Misconfigured, match=f"process {process.pid}"):
            FolderLock(tmp_path).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    with FolderLock(tmp_path):
        assert (tmp_path / "server.lock").read_text() == f"{os.getpid()}\n"


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match="file: File exists; give a folder"):
        FolderLock(tmp_path / "file").acquire()


def test_what_stands_in_the_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.lock").mkdir()

    with pytest.raises(StoreUnavailable, match=r"server\.lock: Is a directory"):
        FolderLock(tmp_path).acquire()
