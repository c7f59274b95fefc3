"""Shapes, usage, determinism, timing, isolation, journal, and the endpoints beside the replies."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.devtools.simulator import Expected, RealClock, Script, Step, Timing, VirtualClock, read_script
from quarterdeck.devtools.simulator.generate import generate
from quarterdeck.devtools.simulator.hashing import embed, similarity
from quarterdeck.devtools.simulator.validity import problem
from quarterdeck.models.tokens import count_tokens
from tests.unit.devtools.simulator.asking import CHAT_TOOL, chat, claude, send, simulator

ANSWER = "One two three, 四五."
ASKED: dict[str, Any] = {
    "/v1/chat/completions": chat("Hi."),
    "/v1/responses": {"model": "gpt-5", "input": "Hi."},
    "/v1/messages": claude("Hi."),
}


def answering(text: str = ANSWER, **options: Any) -> Any:
    return simulator(scripts=[Script(steps=[Step(answer=text)])], **options)


@pytest.mark.row("D1", part="streaming")
async def test_chat_chunks_begin_with_the_role_and_end_with_reason_usage_and_done() -> None:
    heard = await send(answering(), "/v1/chat/completions", chat(stream=True, stream_options={"include_usage": True}))

    *chunks, last, usage = heard.events
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == ANSWER
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == count_tokens(ANSWER)
    assert all(chunk["usage"] is None for chunk in [*chunks, last])
    assert heard.body.endswith(b"data: [DONE]\n\n")
    assert len({chunk["id"] for chunk in heard.events}) == 1


@pytest.mark.row("D1", part="streaming")
async def test_chat_streams_tool_calls_in_fragments() -> None:
    script = (
        "steps: [{calls: [{tool: get_weather, arguments: {city: Paris, days: 2}}, {tool: get_weather, arguments: auto}]}]"
    )
    app = simulator(scripts=[read_script(script)])

    heard = await send(app, "/v1/chat/completions", chat(stream=True, tools=[CHAT_TOOL]))

    deltas = [chunk["choices"][0]["delta"] for chunk in heard.events]
    assert deltas[0]["role"] == "assistant"
    fragments = [call for delta in deltas for call in delta.get("tool_calls", ())]
    heads = [call for call in fragments if "id" in call]
    assert [(head["index"], head["type"], head["function"]["name"]) for head in heads] == [
        (0, "function", "get_weather"),
        (1, "function", "get_weather"),
    ]
    first = "".join(call["function"]["arguments"] for call in fragments if call["index"] == 0)
    assert json.loads(first) == {"city": "Paris", "days": 2}
    assert heard.events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert "usage" not in heard.events[0]


@pytest.mark.row("D1", part="streaming")
async def test_responses_tell_semantic_events_in_order() -> None:
    heard = await send(answering(), "/v1/responses", ASKED["/v1/responses"] | {"stream": True})

    kinds = [event["type"] for event in heard.events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in heard.events] == list(range(len(kinds)))
    assert "".join(event.get("delta", "") for event in heard.events) == ANSWER
    assert b"[DONE]" not in heard.body


@pytest.mark.row("D1", part="streaming")
async def test_messages_tell_anthropics_sequence() -> None:
    heard = await send(answering(), "/v1/messages", ASKED["/v1/messages"] | {"stream": True})

    kinds = [event["type"] for event in heard.events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in heard.events if e["type"] == "content_block_delta") == ANSWER
    assert heard.events[-2]["delta"]["stop_reason"] == "end_turn"
    assert heard.events[-2]["usage"]["output_tokens"] == count_tokens(ANSWER)


@pytest.mark.row("D1", part="usage")
async def test_tokens_are_counted_and_a_repeated_prefix_is_cached() -> None:
    app = answering()
    long = [{"role": "system", "content": "Rules and more rules. " * 400}, {"role": "user", "content": "Hi."}]
    longer = [*long, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "And?"}]

    first = (await send(app, "/v1/chat/completions", chat() | {"messages": long})).json["usage"]
    second = (await send(app, "/v1/chat/completions", chat() | {"messages": longer})).json["usage"]
    short = (await send(app, "/v1/chat/completions", chat("Hi."))).json["usage"]

    assert short["prompt_tokens"] == 4 + count_tokens("Hi.")
    assert short["total_tokens"] == short["prompt_tokens"] + count_tokens(ANSWER)
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    cached = second["prompt_tokens_details"]["cached_tokens"]
    assert cached % 128 == 0
    assert 1024 <= cached <= first["prompt_tokens"]


async def test_reply_stops_at_its_limits() -> None:
    cut = (await send(answering(), "/v1/chat/completions", chat(max_tokens=3))).json["choices"][0]
    stopped = (await send(answering(), "/v1/chat/completions", chat(stop=[" three"]))).json["choices"][0]
    incomplete = (await send(answering(), "/v1/responses", ASKED["/v1/responses"] | {"max_output_tokens": 3})).json
    claudes = (await send(answering(), "/v1/messages", claude(max_tokens=3) | {"max_tokens": 3})).json

    assert (cut["finish_reason"], ANSWER.startswith(cut["message"]["content"])) == ("length", True)
    assert stopped["message"]["content"] == "One two"
    assert (incomplete["status"], incomplete["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert claudes["stop_reason"] == "max_tokens"


@pytest.mark.row("D1", part="deterministic")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
async def test_same_seed_gives_the_same_bytes(path: str, stream: bool) -> None:
    script = "steps: [{answer: 'Hello.', calls: [{tool: get_weather}], reasoning: hm}]"
    tools = {
        "/v1/chat/completions": [CHAT_TOOL],
        "/v1/responses": [{"type": "function", **CHAT_TOOL["function"]}],
        "/v1/messages": [{"name": "get_weather", "input_schema": CHAT_TOOL["function"]["parameters"]}],
    }[path]

    async def transcript(seed: int) -> list[Any]:
        timing = Timing(ttft_s=0.3, tokens_per_s=40, jitter=0.5)
        app = simulator(seed=seed, scripts=[read_script(script)], timing=timing)
        heard = [await send(app, path, {**ASKED[path], "stream": stream, "tools": tools}) for _ in range(3)]
        return [(one.status, one.headers, one.body) for one in heard] + [entry.elapsed_s for entry in app.journal]

    one, again, other = await transcript(1), await transcript(1), await transcript(2)

    assert one == again
    assert one != other
    assert one[0] != one[1]  # equal requests still have ids of their own


@pytest.mark.row("D1", part="deterministic")
async def test_seed_of_a_request_makes_it_independent_of_what_was_before() -> None:
    app = simulator()
    body = chat("Rules and more rules. " * 400)
    alone = await send(app, "/v1/chat/completions", body, x_sim_seed="7")
    for _ in range(3):
        await send(app, "/v1/chat/completions", body)

    later = await send(app, "/v1/chat/completions", body, x_sim_seed="7")
    other = await send(app, "/v1/chat/completions", body, x_sim_seed="8")

    assert (alone.headers, alone.body) == (later.headers, later.body)
    assert other.body != alone.body


@pytest.mark.row("D1", part="timing")
async def test_ten_minutes_take_no_time_on_the_virtual_clock() -> None:
    clock = VirtualClock()
    app = answering("word " * 300, timing=Timing(ttft_s=60, tokens_per_s=0.5), clock=clock)

    streamed = await send(app, "/v1/chat/completions", chat(stream=True))
    elapsed = clock.now()
    await send(app, "/v1/chat/completions", chat())

    assert len(streamed.writes) == 1
    assert elapsed == pytest.approx(60 + 2 * (len(streamed.events)), abs=5)
    assert [entry.elapsed_s > 500 for entry in app.journal] == [True, True]


@pytest.mark.row("D1", part="timing")
async def test_real_clock_spreads_the_pieces_and_a_client_may_leave() -> None:
    app = answering(timing=Timing(ttft_s=0.001, tokens_per_s=2000), clock=RealClock())

    heard = await send(app, "/v1/chat/completions", chat(stream=True))
    left = await send(
        app, "/v1/chat/completions", chat(stream=True), patience_s=0.01, x_sim_timing="ttft_s=60, tokens_per_s=1"
    )

    assert len(heard.writes) > 5
    assert left.writes == []
    assert [entry.ended for entry in app.journal] == ["complete", "left"]


@pytest.mark.row("D1", part="journal")
async def test_journal_finds_counts_and_explains() -> None:
    app = simulator()
    await send(app, "/v1/chat/completions", chat("Where is Paris?", tools=[CHAT_TOOL]), x_sim_trace="a")
    await send(app, "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x"}, x_sim_trace="a")
    await send(app, "/__trace/b/v1/chat/completions", chat("Other."))

    assert len(app.journal.check(Expected(trace="a"), 2)) == 2
    assert [entry.trace for entry in app.journal.find(Expected(path="*/chat/completions"))] == ["a", "b"]
    assert app.journal.check(Expected(contains="Paris", tool="get_weather", model="gpt-*"))[0].number == 1
    with pytest.raises(AssertionError, match=r"expected exactly 3 .* found 1"):
        app.journal.check(Expected(trace="b"), 3)
    shown = app.journal.find(Expected(trace="b"))[0].shown()
    assert shown["headers"]["authorization"] == "[secret]"
    assert shown["status"] == 200


@pytest.mark.row("D1", part="journal")
async def test_admin_interface_sets_reads_and_clears_one_trace() -> None:
    app = simulator()
    script = b"steps: [{answer: From the script.}]"

    put = await send(app, "/__sim/script?trace=a", script, method="PUT")
    fault = await send(app, "/__sim/faults?trace=a", {"kind": "status", "status": 503, "request": 2})
    first = await send(app, "/v1/chat/completions", chat(), x_sim_trace="a")
    second = await send(app, "/v1/chat/completions", chat(), x_sim_trace="a")
    other = await send(app, "/v1/chat/completions", chat(), x_sim_trace="b")
    met = await send(app, "/__sim/expect?trace=a", {"times": 2})
    missed = await send(app, "/__sim/expect?trace=a", {"times": 1, "status": 404})
    seen = await send(app, "/__sim/requests?trace=a")
    await send(app, "/__sim/requests?trace=a", method="DELETE")
    left = await send(app, "/__sim/requests")
    moved = await send(app, "/__sim/clock", {"advance_s": 5})
    wrong = await send(app, "/__sim/faults", {"kind": "explode"})

    assert (put.status, fault.status) == (200, 201)
    assert first.json["choices"][0]["message"]["content"] == "From the script."
    assert (second.status, other.status) == (503, 200)
    assert (met.status, missed.status) == (200, 409)
    assert [entry["status"] for entry in seen.json] == [200, 503]
    assert [entry["trace"] for entry in left.json] == ["b"]
    assert moved.json == {"now_s": 5.0}
    assert wrong.status == 400


async def test_embeddings_are_unit_vectors_near_for_shared_words() -> None:
    app = simulator()
    body = {"model": "text-embedding-3-small", "input": ["the cat sat", "the cat sat down", "tax law"]}

    heard = await send(app, "/v1/embeddings", body)
    small = await send(app, "/v1/embeddings", body | {"dimensions": 64, "input": "x"})
    empty = await send(app, "/v1/embeddings", body | {"input": ""})

    near, far = [embed(text, 512) for text in body["input"][1:]]
    cat = embed("the cat sat", 512)
    vector = heard.json["data"][0]["embedding"]
    assert (len(vector), len(small.json["data"][0]["embedding"])) == (1536, 64)
    assert math.sqrt(sum(value * value for value in vector)) == pytest.approx(1, abs=1e-5)
    assert similarity(cat, near) > 0.6 > 0.2 > similarity(cat, far)
    assert heard.json["usage"]["prompt_tokens"] > 0
    assert empty.status == 400


async def test_rerank_puts_shared_words_first() -> None:
    body = {
        "model": "rerank-1",
        "query": "capital of France",
        "documents": ["tax law", {"text": "Paris, capital of France"}],
    }

    heard = await send(simulator(), "/v1/rerank", body | {"return_documents": True})
    one = await send(simulator(), "/v1/rerank", body | {"top_n": 1})

    assert [result["index"] for result in heard.json["results"]] == [1, 0]
    assert heard.json["results"][0]["document"]["text"] == "Paris, capital of France"
    assert len(one.json["results"]) == 1


async def test_moderation_flags_words_of_its_lists() -> None:
    heard = await send(simulator(), "/v1/moderations", {"input": ["I will kill you", "Good morning", "我要杀死他"]})

    flagged = [result["flagged"] for result in heard.json["results"]]
    assert flagged == [True, False, True]
    assert heard.json["results"][0]["categories"]["violence"] is True


async def test_previous_response_carries_the_conversation() -> None:
    app = simulator(scripts=[Script(steps=[lambda ask: f"turn {ask.turn} of {len(ask.turns)}"])])

    first = (await send(app, "/v1/responses", {"model": "m", "input": "a", "instructions": "Be brief."})).json
    second = (await send(app, "/v1/responses", {"model": "m", "input": "b", "previous_response_id": first["id"]})).json

    assert first["output"][0]["content"][0]["text"] == "turn 1 of 2"
    assert second["output"][0]["content"][0]["text"] == "turn 2 of 3"


async def test_azures_paths_and_anthropics_token_count_are_served() -> None:
    body = chat()
    del body["model"]

    azure = await send(simulator(), "/openai/deployments/my-gpt/chat/completions", body, authorization="", api_key="k")
    counted = await send(
        simulator(), "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
    )

    assert azure.json["model"] == "my-gpt"
    assert counted.json == {"input_tokens": 4 + count_tokens("Hi.")}


SCHEMAS = st.recursive(
    st.one_of(
        st.just({"type": "boolean"}),
        st.builds(
            lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
            st.integers(-50, 50),
            st.integers(0, 9),
        ),
        st.builds(
            lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
            st.integers(0, 9),
            st.integers(0, 9),
        ),
        st.builds(lambda step: {"type": "number", "multipleOf": step, "exclusiveMinimum": 0}, st.sampled_from([0.5, 2, 10])),
        st.sampled_from(
            [
                {"enum": ["a", 1, None]},
                {"const": {"x": 1}},
                {"type": ["string", "null"]},
                {"type": "string", "pattern": r"^(foo|ba[rz])-\d{2,4}[^a-z\s]?$"},
                {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            ]
        ),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda properties, n: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties)[:n],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
            st.integers(0, 3),
        ),
        st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low}, inner, st.integers(0, 3)),
    ),
    max_leaves=8,
)


@pytest.mark.row("D1", part="structured")
@given(schema=SCHEMAS, seed=st.integers(0, 999))
def test_generated_values_are_always_valid(schema: dict[str, Any], seed: int) -> None:
    value = generate(schema, Random(seed))

    assert problem(schema, value) is None
    assert generate(schema, Random(seed)) == value
