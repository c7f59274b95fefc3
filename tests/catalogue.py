"""The catalogue of bad input, and the tests that show what becomes of each row.

A test shows a row by its parameter's id, ``"19: a path for an id"``, or stands in `ELSEWHERE` by its name. ``python -m
tests.catalogue`` prints the rows with their tests, those of the server first, and exits with 1 if one of these has none.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TESTS = Path(__file__).parent
_ID = re.compile(r"(\d+): ")

SERVER: Mapping[int, str] = {
    1: "body larger than allowed",
    2: "length that lies, body without end",
    3: "head that comes drop by drop",
    4: "compressed body",
    5: "deep nesting",
    6: "a million members or elements",
    7: "a key twice where something is decided",
    8: "NaN, infinity, endless numbers",
    9: "bytes that are no UTF-8",
    10: "lone surrogates",
    11: "NUL",
    12: "question of nothing visible",
    13: "question no window holds",
    14: "unknown fields",
    15: "wrong types",
    16: "history in the name of system or tools",
    17: "addresses in parts of messages",
    18: "ids of another tenant",
    19: "ids that are paths, NUL, endless",
    20: "Host that is an address",
    21: "forwarding headers of a stranger",
    22: "line ends and 64 KiB in headers",
    23: "garbage in tracing headers",
    24: "idempotency keys that are none",
    25: "forged tokens",
    26: "keys with SQL",
    27: "origin null",
    28: "WebSocket of a foreign page",
    29: "frames of 100 MB, floods, no JSON",
    30: "gRPC message that is too large",
    31: "a hundred thousand questions",
    32: "Last-Event-ID that is none; reader that takes nothing",
    64: "file names that are paths",
    69: "files that are not what they say",
    79: "control characters in what is logged",
    80: "what broke inside",
    81: "made-up values as labels of metrics",
    83: "approval given twice, or by nobody who may",
    85: "filters made of code",
    87: "times out of bounds",
    88: "every script there is",
    89: "names that mean something to languages",
    90: "a million small requests",
}

ELSEWHERE: Mapping[int, Sequence[str]] = {
    1: ("unit/transports/test_documents.py::test_a_body_that_says_one_thing_twice_or_is_too_large_is_refused",),
    2: (
        "unit/transports/test_bad_input.py::test_size_is_counted_on_the_stream_whatever_was_announced",
        "unit/transports/test_bad_input.py::test_body_that_does_not_arrive_in_time_is_answered_408",
    ),
    7: ("unit/transports/test_bad_input.py::test_key_that_stands_twice_is_refused_where_something_is_decided",),
    13: ("unit/transports/test_bad_input.py::test_prompt_that_fits_no_window_is_refused_before_a_model_is_asked",),
    14: ("unit/transports/test_openai_routes.py::test_fields_that_change_nothing_are_ignored_and_named",),
    16: ("unit/transports/test_openai_routes.py::test_system_message_needs_a_scope_and_is_never_an_instruction",),
    18: ("unit/transports/test_access_of_routes.py::test_ids_of_another_tenant_do_not_exist",),
    22: ("unit/transports/test_server.py::test_head_without_end_is_cut_off",),
    23: ("unit/telemetry/test_tags.py::test_garbage_and_personal_data_are_dropped",),
    28: ("acceptance/test_websocket.py::test_stranger_is_refused_before_the_connection_opens",),
    29: (
        "acceptance/test_websocket.py::test_frame_of_100_mb_is_refused_at_its_head",
        "acceptance/test_websocket.py::test_what_is_no_message_ends_the_connection",
        "acceptance/test_websocket.py::test_text_that_is_not_utf_8_ends_the_connection",
    ),
    30: ("unit/transports/test_grpc.py::test_message_that_is_too_large_is_refused_before_it_is_read",),
    32: ("unit/transports/test_server.py::test_reader_that_takes_nothing_is_cut_and_the_application_is_told",),
    33: ("unit/agent/test_loop.py::test_three_turns_of_unknown_tools_stop_the_run",),
    35: ("unit/models/test_openai.py::test_arguments_that_are_no_object_make_a_malformed_call",),
    43: ("unit/models/test_openai.py::test_a_reply_cut_inside_a_tool_call_is_truncated",),
    44: ("contracts/test_dialects.py::test_an_answer_stopped_by_the_content_filter_does_nothing",),
    45: ("unit/models/test_assemble.py::test_any_split_and_interleaving_assembles_to_the_same_calls",),
    49: ("unit/models/test_openai.py::test_a_stalled_stream_ends_at_the_idle_timeout",),
    51: ("unit/tools/test_executor.py::test_an_oversize_result_is_cut_and_marked",),
    52: ("unit/tools/test_executor.py::test_an_unserialisable_result_is_a_typed_error",),
    61: ("unit/knowledge/test_ingest_web.py::test_addresses_that_are_not_public_are_refused_also_behind_a_redirect",),
    64: ("unit/transports/test_documents.py::test_what_is_no_document_is_refused",),
    68: ("unit/knowledge/parsers/test_hostile_documents.py::test_hidden_text_of_a_page_is_left_out_and_counted",),
    79: (
        "unit/telemetry/test_logs.py::test_line_is_one_object_with_the_ids_around_it_whatever_the_text",
        "unit/telemetry/test_logs.py::test_error_with_its_traceback_stays_one_line",
    ),
    80: ("unit/transports/test_bad_input.py::test_crash_shows_the_client_an_id_and_nothing_of_the_inside",),
    81: ("unit/telemetry/test_metrics.py::test_values_that_anybody_can_make_up_are_counted_together_from_some_number_on",),
    87: ("unit/transports/test_waiting.py::test_what_is_no_time_and_no_lane_is_422",),
    88: ("unit/transports/test_bad_input.py::test_hidden_characters_leave_the_question_and_others_stay_to_the_letter",),
    90: ("unit/transports/test_rates.py::test_a_million_small_requests_end_at_the_limit",),
}


def shown() -> Mapping[int, list[str]]:
    """Tests by row, from the sources of the tests."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for row, tests in ELSEWHERE.items():
        found[row].extend(tests)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(TESTS)}::{node.name}"
                for row in sorted({int(match[1]) for text in _ids(node) if (match := _ID.match(text))}):
                    found[row].append(name)
    return found


def _ids(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """What stands behind `id` and `ids` in the marks of a test."""
    for mark in test.decorator_list:
        for node in ast.walk(mark):
            if isinstance(node, ast.keyword) and node.arg in ("id", "ids"):
                yield from (
                    part.value
                    for part in ast.walk(node.value)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )


def missing(tests: Mapping[int, Sequence[str]]) -> list[int]:
    """Rows of the server that no test shows."""
    return [row for row in SERVER if not tests.get(row)]


def main() -> int:
    """Print the table. Returns the exit code."""
    tests = shown()
    for row in (*SERVER, *sorted(tests.keys() - SERVER.keys())):
        print(f"{row:>3} {SERVER.get(row, 'not of the server'):<54} {len(tests.get(row, ())):>2}")
        print("".join(f"      {name}\n" for name in tests.get(row, ())), end="")
    gaps = missing(tests)
    print(f"{len(SERVER)} rows of the server, {len(gaps)} without a test{': ' + str(gaps) if gaps else ''}")
    return int(bool(gaps))


if __name__ == "__main__":
    sys.exit(main())
