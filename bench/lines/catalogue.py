"""The promises of reliability, each with the figures or tests that show it."""

from __future__ import annotations

from bench.lines.line import Figures, Line

_UNIT, _CONTRACTS = "tests/unit", "tests/contracts"
_BETWEEN, _SERVED = "tests/integration", "tests/acceptance"
_DISPATCH = f"{_BETWEEN}/test_dispatch_between_processes.py"

LINES = (
    Line(
        number=1,
        behaviour="A caller's deadline ends the request",
        target="with 5 s and a model that takes a minute: 504 after 5 s, 0.25 s more or less; the model's connection closed "
        "within 250 ms of that; nothing more asked",
        figures=(Figures(measure="deadlines", named="deadline of a request"),),
    ),
    Line(
        number=2,
        behaviour="A tool gets what is left of the deadline",
        target="the smaller of its own time and what is left less 200 ms; not begun with less than 200 ms left",
        figures=(Figures(measure="deadlines", named="deadline of a tool"),),
        tests=(
            f"{_UNIT}/agent/test_rates_and_deadlines.py::test_a_tool_is_not_begun_when_nearly_nothing_is_left_of_the_deadline",
        ),
    ),
    Line(
        number=3,
        behaviour="A gRPC deadline is the same deadline",
        target="DEADLINE_EXCEEDED, and the model's connection closed, within 250 ms of it",
        figures=(Figures(measure="deadlines", named="deadline over gRPC"),),
    ),
    Line(
        number=4,
        behaviour="A provider that is down is not buried under retries",
        target="at most 4 attempts of a call; in every 10 s at most 1.2 requests for each call, or 3 retries",
        figures=(Figures(measure="retries", named="retries"),),
        tests=(f"{_BETWEEN}/test_model_that_is_down.py::test_a_provider_that_is_down_gets_a_fifth_more_requests_at_most",),
    ),
    Line(
        number=5,
        behaviour="Retry-After is kept",
        target="429 with 2 s: the next attempt after 2.0 to 2.6 s; at once an error if that is past the deadline",
        figures=(Figures(measure="retries", named="Retry-After"),),
    ),
    Line(
        number=6,
        behaviour="Clients that fail together do not return together",
        target="of 1,000: at most 5 % of the retries in any 100 ms",
        figures=(Figures(measure="retries", named="jitter"),),
    ),
    Line(
        number=7,
        behaviour="No silent restart after the first piece of an answer",
        target="a stream that breaks is an error that names the run, never a second beginning",
        tests=(
            f"{_UNIT}/models/test_retry.py::test_nothing_is_repeated_after_the_first_delta",
            f"{_UNIT}/models/test_retry.py::test_over_http_a_cut_stream_is_repeated_only_while_nothing_was_shown",
            f"{_UNIT}/models/test_fallback.py::test_nobody_is_asked_once_a_piece_was_delivered",
        ),
    ),
    Line(
        number=8,
        behaviour="No call is made twice to be quicker",
        target="at most 5 % more requests than calls to a slow provider, and none for models with tools; Quarterdeck hedges "
        "nothing",
        figures=(Figures(measure="retries", named="hedging"),),
    ),
    Line(
        number=9,
        behaviour="Overload: what is accepted stays quick, the rest is refused at once",
        target="at three times capacity: at least 90 % of the peak's good answers, p99 of accepted at most twice the usual, "
        "refusals within 10 ms with 429 and Retry-After",
        figures=(Figures(measure="overload", named="9 "),),
    ),
    Line(
        number=10,
        behaviour="A noisy tenant does not slow a quiet one",
        target="beside one at ten times its share: p99 at most 1.2 times the usual, no 429",
        figures=(Figures(measure="overload", named="10 "),),
    ),
    Line(
        number=11,
        behaviour="People before batches",
        target="under a flood of batch requests: at least 99 % of people's requests succeed, batch is shed",
        figures=(Figures(measure="overload", named="11 "),),
    ),
    Line(
        number=12,
        behaviour="What waited past its deadline is not begun",
        target="0 runs begun past their deadline; 504 within 250 ms of it",
        figures=(Figures(measure="overload", named="12 "),),
    ),
    Line(
        number=13,
        behaviour="SIGTERM drains",
        target="readiness 503 within 1 s; exit 0 within 30 s; no run lost; a rolling restart under load fails no request",
        figures=(
            Figures(measure="stopping", named=""),
            Figures(measure="fleet", named="fleet requests"),
            Figures(measure="fleet", named="fleet runs"),
        ),
    ),
    Line(
        number=14,
        behaviour="kill -9 at any moment",
        target="every write applied once where its target deduplicates, never silently repeated elsewhere; no run lost; "
        "runs go on within 10 s after the stall limit",
        figures=(Figures(measure="kills", named=""),),
    ),
    Line(
        number=15,
        behaviour="A frozen worker that wakes writes nothing",
        target="others have its runs within 10 s after the stall limit; its writes are refused by the epoch of the claim; "
        "no event and no effect twice",
        figures=(Figures(measure="frozen", named=""),),
        tests=(
            f"{_DISPATCH}::test_a_frozen_worker_loses_its_run_and_cannot_end_the_job_of_the_one_that_took_it",
            f"{_CONTRACTS}/test_journal.py::test_older_claim_can_write_nothing_more",
        ),
    ),
    Line(
        number=16,
        behaviour="A run that kills its workers is set aside",
        target="after 3 crashes: failed as poison, listed as a dead letter, tried again only when a person says so; other "
        "runs complete, none later than the workers it was with were missed and 10 s",
        figures=(Figures(measure="poison", named=""),),
        tests=(
            f"{_UNIT}/agent/test_loop.py::test_a_run_that_kills_its_worker_again_and_again_ends_as_poison",
            f"{_CONTRACTS}/test_controls.py::test_a_dead_letter_is_listed_and_tried_again",
        ),
    ),
    Line(
        number=17,
        behaviour="Readers who take nothing cost little and are cut",
        target="of 500: at most 256 KiB each; cut after 30 s, the runs go on; p99 of others at most 1.2 times the usual",
        figures=(Figures(measure="slow_readers", named=""),),
    ),
    Line(
        number=18,
        behaviour="A caller who goes away is heard",
        target="on_disconnect=cancel: the model's connection closed within 500 ms; detach: the run completes "
        "and is readable",
        figures=(Figures(measure="overload", named="18 "),),
    ),
    Line(
        number=19,
        behaviour="A stream resumes where it was cut",
        target="cut at any of 1,000 places and resumed with Last-Event-ID: byte for byte the uncut stream",
        figures=(Figures(measure="resuming", named=""),),
        tests=(
            f"{_BETWEEN}/test_streams_between_replicas.py::test_stream_cut_anywhere_goes_on_at_another_replica_byte_for_byte",
        ),
    ),
    Line(
        number=20,
        behaviour="One Idempotency-Key, one run",
        target="50 posts at once: 1 run, 50 equal answers; another body 422; the same after a restart; another tenant's "
        "key is its own; kept a day",
        figures=(Figures(measure="repeats", named=""),),
        tests=(f"{_CONTRACTS}/test_repeats.py::test_other_body_under_the_key_is_refused_for_a_day",),
    ),
    Line(
        number=21,
        behaviour="Silent connections are kept alive, dead ones found",
        target="a comment in an event stream every 15 s; a WebSocket ping every 20 s, a dead peer found within 45 s",
        figures=(Figures(measure="heartbeats", named=""),),
    ),
    Line(
        number=22,
        behaviour="Postgres away, or the disk full",
        target="writes 503 with Retry-After within 1 s; /ready 503, /health 200; served again within 5 s of its return, "
        "without a restart; no run lost that a caller was told of",
        tests=(
            f"{_SERVED}/test_outages.py::test_postgres_away_refuses_writes_at_once_and_its_return_needs_no_restart",
            f"{_SERVED}/test_full_disk.py::test_a_full_disk_refuses_what_is_new_and_loses_nothing_and_room_needs_no_restart",
        ),
    ),
    Line(
        number=23,
        behaviour="Redis away",
        target="rate limits fall back to a share of each process; no request fails; counted in the metrics within 10 s",
        tests=(
            f"{_SERVED}/test_outages.py::test_redis_away_slows_answers_and_fails_none",
            f"{_BETWEEN}/test_limits_redis.py::test_without_redis_each_replica_allows_its_share",
            f"{_BETWEEN}/test_limits_redis.py::test_a_redis_that_comes_and_goes_gives_no_new_share_each_time",
            f"{_BETWEEN}/test_limits_redis.py::test_a_redis_that_is_away_is_counted_in_the_metrics_with_the_first_request",
        ),
    ),
    Line(
        number=24,
        behaviour="Retrieval away",
        target="the answer says so and asks for review; no citation is made up",
        tests=(f"{_UNIT}/agent/test_preparing.py::test_a_search_that_fails_is_left_out_and_the_record_says_so",),
    ),
    Line(
        number=25,
        behaviour="A model away",
        target="the breaker opens at 50 % errors of 20 calls in 10 s; the fallback answers within 1 s; one probe every 5 s",
        figures=(Figures(measure="retries", named="breaker"),),
        tests=(f"{_CONTRACTS}/test_breaker.py::test_half_open_lets_exactly_one_of_fifty_through",),
    ),
    Line(
        number=26,
        behaviour="Clocks that differ",
        target="stalls are judged by the database's clock; tokens may be 60 s off; time-outs use a clock that cannot be set",
        tests=(
            f"{_BETWEEN}/test_postgres_store.py::test_instants_are_the_databases",
            f"{_UNIT}/service/test_issued.py::test_clocks_may_differ_a_minute",
            f"{_CONTRACTS}/test_journal.py::test_time_of_events_is_the_stores_and_never_orders_them",
            f"{_CONTRACTS}/test_limits.py::test_a_clock_of_redis_that_is_set_back_refuses_nobody_for_longer",
            f"{_CONTRACTS}/test_breaker.py::test_a_clock_of_redis_that_is_set_back_keeps_nobody_out_for_longer",
        ),
    ),
    Line(
        number=27,
        behaviour="Loops are stopped",
        target="the same call with the same result three times, or a repeated cycle: loop_detected; money exact to one call",
        tests=(
            f"{_UNIT}/agent/test_loop.py::test_three_equal_calls_with_equal_results_stop_the_run",
            f"{_UNIT}/agent/test_limits.py::test_equal_turns_in_the_window_and_repeated_cycles_are_loops",
            f"{_BETWEEN}/test_budgets_against_simulator.py::test_of_fifty_at_once_over_failing_models_only_one_call_goes_over",
        ),
    ),
    Line(
        number=28,
        behaviour="Runs that wait for people hold nothing",
        target="2,000 of them: no connection of the database, no thread, no task",
        figures=(Figures(measure="waiting_postgres", named=""),),
    ),
    Line(
        number=29,
        behaviour="Memory stays flat",
        target="10,000 runs: grows by less than 5 % after warm-up; nothing in the log; what a tool says is cut at a bound",
        figures=(Figures(measure="soak", named=""),),
        tests=(f"{_UNIT}/tools/test_executor.py::test_an_oversize_result_is_cut_and_marked",),
    ),
    Line(
        number=30,
        behaviour="Changed files come into force, wrong ones do not",
        target="policy.yaml and users.yaml, the files that are read while runs go on: good within 2 s, and running runs "
        "keep what was decided; wrong: what is in force stays, told in log and metrics",
        tests=(
            f"{_SERVED}/test_policy.py::test_a_changed_policy_holds_for_the_next_call_and_a_wrong_one_changes_nothing",
            f"{_SERVED}/test_policy.py::test_somebody_taken_out_is_refused_within_two_seconds_and_a_wrong_file_changes_nothing",
        ),
    ),
    Line(
        number=31,
        behaviour="Every call out of the process ends in time",
        target="none without time limits on connecting, reading and the whole",
        tests=(f"{_UNIT}/test_time_limits.py::test_no_connection_is_opened_without_time_limits",),
    ),
    Line(
        number=32,
        behaviour="The event loop is never blocked for long",
        target="with questions and documents coming in: no callback longer than 100 ms; p99 of the lag at most 50 ms",
        figures=(Figures(measure="event_loop", named=""),),
    ),
)
