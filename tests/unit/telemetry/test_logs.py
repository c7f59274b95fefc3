from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from quarterdeck.telemetry import bound, bound_ids


def _lines(program: str) -> list[dict[str, Any]]:
    """What a program of its own logs: logging is configured for a whole process."""
    head = "import logging\nfrom quarterdeck.telemetry import bound, configure\n"
    head += "configure('info')\nlog = logging.getLogger('a.b')\n"
    done = subprocess.run([sys.executable, "-W", "error", "-c", head + program], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.row("S13", part="one object per line")
def test_line_is_one_object_with_the_ids_around_it_whatever_the_text() -> None:
    program = """
with bound(tenant="acme", run_id="r1", trace_id=None):
    log.info("a\\nb\\x1b[31m\\u2028\\u202e{x}", extra={"stop_reason": "done", "thing": object})
log.debug("not shown")
"""

    (line,) = _lines(program)

    assert line["message"] == "a\nb\x1b[31m\u2028\u202e{x}"
    assert (line["tenant"], line["run_id"], line["stop_reason"]) == ("acme", "r1", "done")
    assert (line["level"], line["logger"]) == ("info", "a.b")
    assert "trace_id" not in line


def test_error_with_its_traceback_stays_one_line() -> None:
    (line,) = _lines("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('broken')\n")

    assert line["message"] == "broken"
    assert "ZeroDivisionError" in line["exception"]


@pytest.mark.row("S13", part="masking")
def test_credentials_and_personal_data_stand_in_no_line_wherever_they_were_put() -> None:
    program = """
configure('info', secrets=['hunter2-hunter2'])
class Thing:
    def __repr__(self): return 'Thing(hunter2-hunter2, emma@example.com)'
with bound(run_id='13812345678'):
    deep = [{'hunter2-hunter2': 'sk-abcd1234efgh'}]
    log.info('mail emma@example.com or +49 30 901820', extra={'thing': Thing(), 'deep': deep})
try:
    raise ValueError('card 4111 1111 1111 1111 at postgresql://app:hunter2-hunter2@db/x')
except ValueError:
    log.exception('broken')
"""

    first, second = _lines(program)

    assert first["message"] == "mail [personal] or [personal]"
    assert first["thing"] == "Thing([secret], [personal])"
    assert first["deep"] == [{"[secret]": "[secret]"}]
    assert first["run_id"] == "13812345678"
    assert "hunter2" not in str(second)
    assert "4111" not in str(second)


def test_personal_data_is_written_where_that_is_wanted() -> None:
    (line,) = _lines("configure('info', personal=True)\nlog.info('emma@example.com sk-abcd1234efgh')")

    assert line["message"] == "emma@example.com [secret]"


def test_ids_hold_inside_the_block_and_add_up() -> None:
    with bound(tenant="acme"):
        with bound(run_id="r1", request_id=None):
            inside = dict(bound_ids())
        after = dict(bound_ids())

    assert inside == {"tenant": "acme", "run_id": "r1"}
    assert after == {"tenant": "acme"}
    assert dict(bound_ids()) == {}


def test_what_nobody_catches_and_warnings_are_lines_too() -> None:
    program = """
import threading, warnings
def broken(): raise KeyError("in a thread")
thread = threading.Thread(target=broken); thread.start(); thread.join()
warnings.simplefilter("always")
warnings.warn("look out")
import sys; sys.excepthook(*[(type(e), e, None) for e in [ValueError("at the end")]][0])
"""

    thread, warning, end = _lines(program)

    assert "in a thread" in thread["exception"]
    assert (warning["logger"], "look out" in warning["message"]) == ("py.warnings", True)
    assert "at the end" in end["exception"]
