"""The simulator as an ASGI application: reads a request, lets a brain answer, breaks what is to break, sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from quarterdeck.core.errors import InvalidInput
from quarterdeck.devtools.simulator.admin import Admin
from quarterdeck.devtools.simulator.anthropic import Messages
from quarterdeck.devtools.simulator.base import Ask, Brain, Call, Reply
from quarterdeck.devtools.simulator.brains import Brains
from quarterdeck.devtools.simulator.clock import Clock, VirtualClock
from quarterdeck.devtools.simulator.counter import Counter
from quarterdeck.devtools.simulator.deliver import Cut, Receive, Scope, Send, deliver, joined
from quarterdeck.devtools.simulator.embeddings import embeddings
from quarterdeck.devtools.simulator.exchange import STREAM, Answer, Incoming, whole
from quarterdeck.devtools.simulator.faults import Fault, broken, failed, parse_fault
from quarterdeck.devtools.simulator.journal import Entry, Journal
from quarterdeck.devtools.simulator.keys import check_key
from quarterdeck.devtools.simulator.limits import Bucket, Headers, RateLimit, exhausted
from quarterdeck.devtools.simulator.listing import Listing
from quarterdeck.devtools.simulator.moderation import moderate
from quarterdeck.devtools.simulator.openai_chat import ChatCompletions
from quarterdeck.devtools.simulator.record import Tape
from quarterdeck.devtools.simulator.refusals import Dialect, Refusal, error_body
from quarterdeck.devtools.simulator.rerank import rerank
from quarterdeck.devtools.simulator.responses import Responses
from quarterdeck.devtools.simulator.routes import route
from quarterdeck.devtools.simulator.scripts import Script
from quarterdeck.devtools.simulator.seeds import Seed
from quarterdeck.devtools.simulator.shape import Counts, limited
from quarterdeck.devtools.simulator.timing import Timing, timed
from quarterdeck.devtools.simulator.world import World, Worlds

__all__ = ["Options", "SimulatorApp"]

EPOCH = 1_767_225_600  # 2026-01-01: the date every reply bears, since the real one would differ from run to run
MAX_BODY = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a simulator behaves.

    Attributes:
        seed: Fixes text, ids, timing and faults; ``X-Sim-Seed`` replaces it for one request.
        scripts: Asked in order, each for the models it names.
        brains: By a pattern of the names they answer to.
        models: What ``/v1/models`` lists and what may be asked for; empty for any name.
        clock: Real, or virtual: then nothing ever sleeps.
        api_keys: Keys that are accepted; empty for any key at all. Some key is always required.
        context_window: Tokens a prompt may be; None without a limit.
        strict: Refuse parameters the provider does not have, as it does.
        keep: Requests the journal remembers.
        on_done: Told each request when it is over.
    """

    seed: int | str = 0
    scripts: Sequence[Script] = ()
    brains: Mapping[str, Brain] = field(default_factory=dict)
    models: Sequence[str] = ()
    timing: Timing = field(default_factory=Timing)
    clock: Clock = field(default_factory=VirtualClock)
    faults: Sequence[Fault] = ()
    rate_limit: RateLimit | None = None
    api_keys: Sequence[str] = ()
    context_window: int | None = None
    strict: bool = True
    keep: int = 10_000
    on_done: Callable[[Entry], None] | None = None


class Conversing(Protocol):
    """One provider's API for replies."""

    def read(self, incoming: Incoming) -> Ask: ...
    def whole(self, ask: Ask, reply: Reply, counts: Counts) -> bytes: ...
    def events(self, ask: Ask, reply: Reply, counts: Counts) -> list[bytes]: ...


class SimulatorApp:
    """Attributes: journal: What was asked and answered. worlds: What is remembered per trace."""

    def __init__(self, options: Options | None = None, tape: Tape | None = None) -> None:
        """Args: tape: Records what a real provider answers, or plays it again, in place of the brains."""
        self.options = options = options or Options()
        self.journal = Journal(keep=options.keep)
        self.worlds = Worlds()
        self.brains = Brains(scripts=options.scripts, given=options.brains)
        self._tape = tape
        self._admin = Admin(self)
        listing = Listing(options.models or ("simulated", *self.brains.names), created=EPOCH)
        self._messages = Messages(strict=options.strict)
        self._conversing: dict[str, Conversing] = {
            "/chat/completions": ChatCompletions(created=EPOCH, strict=options.strict),
            "/responses": Responses(created=EPOCH, strict=options.strict),
            "/messages": self._messages,
        }
        self._posts: dict[str, Callable[[Incoming], Answer]] = {
            "/embeddings": embeddings,
            "/rerank": rerank,
            "/moderations": moderate,
            "/messages/count_tokens": self._count_tokens,
        }
        self._gets: Callable[[Incoming], Answer] = listing.all
        self._get_one = listing.one
        self._faults = (*options.faults, *(fault for script in options.scripts for fault in script.faults))
        self._seed = Seed(next((script.seed for script in options.scripts if script.seed is not None), options.seed))
        self._timing = next((script.timing for script in options.scripts if script.timing is not None), options.timing)
        self._count = Counter()
        self._never_waits = (
            tape is None
            and not options.brains
            and all(self.brains.scripted(script).never_waits for script in options.scripts)
            and options.on_done is None
            and self._timing.is_instant
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the simulator speaks HTTP, not {scope['type']}")
        body = await _body(receive)
        if body is None:
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        trace, path, deployment = route(scope["path"], headers)
        if path.startswith("/__sim"):
            status, value = self._admin.answer(scope["method"], path, scope["query_string"].decode("latin-1"), body, trace)
            answer = replace(whole(value), status=status)
            await deliver(answer, answer.acts, [], self.options.clock, scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        incoming = self._incoming(scope["method"], path, query, deployment, headers, body, self.world(trace))
        await self._exchange(incoming, self._entered(incoming, trace, scope["path"]), scope, receive, send)

    def at_once(self, path: str, headers: Mapping[bytes, bytes], body: bytes) -> tuple[Answer, Headers, bytes] | None:
        """The answer to a POST: itself, the headers beside its own, its body.

        None, and nothing has happened, if it might have to wait or to break: then the application is to be called.
        """
        trace, routed, deployment = route(path, headers)
        if (
            not self._never_waits
            or (routed not in self._conversing and routed not in self._posts)
            or b"x-sim-fault" in headers
            or b"x-sim-timing" in headers
            or (world := self.world(trace)).has_faults
            or not getattr(world.script, "never_waits", world.script is None)
        ):
            return None
        incoming = self._incoming("POST", routed, "", deployment, headers, body, world)
        entry = self._entered(incoming, trace, path)
        deciding = self._decide(incoming, entry)
        try:
            deciding.send(None)
            # Nobody could know: the client is told as of any other mistake in a script.
            deciding.throw(RuntimeError("a function of the script waits for something: declare it as async"))
        except StopIteration as decided:
            answer, more = decided.value
        else:
            deciding.close()
            raise RuntimeError("a script goes on waiting whatever it is told")
        whole_body = joined(entry.response)
        assert whole_body is not None  # without a fault or a delay there is nothing between the pieces
        entry.ended, entry.elapsed_s = "complete", self.options.clock.now() - entry.started_s
        return answer, more, whole_body

    def world(self, trace: str) -> World:
        """What is remembered of a trace, made with the faults and limits of the options."""
        world, is_new = self.worlds.of(trace)
        if is_new:
            for fault in self._faults:
                world.add_fault(fault)
            if self.options.rate_limit is not None:
                world.bucket = Bucket(self.options.rate_limit, self.options.clock.now())
        return world

    def _incoming(
        self,
        method: str,
        path: str,
        query: str,
        deployment: str,
        headers: Mapping[bytes, bytes],
        body: bytes,
        world: World,
    ) -> Incoming:
        world.requests += 1
        seed = headers.get(b"x-sim-seed")
        if seed is not None:
            dice = Seed(seed.decode("latin-1")).dice(path, body)
        else:
            dice = self._seed.dice(path, body, world.occurrence(path, body))
        return Incoming(
            method=method, path=path, query=query, headers=headers, body=body, dice=dice, world=world,
            number=world.requests, pure=seed is not None, deployment=deployment,
        )  # fmt: skip

    def _entered(self, incoming: Incoming, trace: str, path: str) -> Entry:
        entry = Entry(
            number=incoming.number, trace=trace, method=incoming.method, path=path, raw_headers=incoming.headers,
            body=incoming.body, started_s=self.options.clock.now(),
        )  # fmt: skip
        self.journal.add(entry)
        return entry

    async def _decide(self, incoming: Incoming, entry: Entry) -> tuple[Answer, Headers]:
        """The answer and the headers beside its own; `entry` tells it too."""
        dialect: Dialect = (
            "anthropic" if b"anthropic-version" in incoming.headers or "/messages" in incoming.path else "openai"
        )
        request_id = f"req_{incoming.dice.digits[-24:]}"
        fault: Fault | None = None
        try:
            fault = self._fault(incoming, entry)
            timing = _timing(incoming.headers, self._timing)
            answer = failed(fault, dialect, request_id, exhausted(dialect, EPOCH, 1.0)) if fault is not None else None
            if answer is None:
                answer = await self._answer(incoming, dialect)
                if fault is not None:
                    answer = broken(answer, fault, dialect, request_id)
        except InvalidInput as error:
            answer, timing = _refused(Refusal(400, str(error), kind="simulator_error"), dialect, request_id), Timing()
        except Refusal as error:
            if error.code == "unmatched":
                entry.unmatched = str(error)
            answer, timing = _refused(error, dialect, request_id), Timing()
        except Exception as error:  # noqa: BLE001 - a script's own, or a schema no value fits: told like a provider's failure
            text = f"The simulator failed: {type(error).__name__}: {error}"
            answer, timing = _refused(Refusal(500, text, kind="simulator_error"), dialect, request_id), Timing()
        entry.status = answer.status
        entry.fault = fault.kind if fault is not None else ""
        entry.response = timed(answer, timing, incoming.dice)
        return answer, self._headers(incoming, dialect, request_id)

    async def _exchange(self, incoming: Incoming, entry: Entry, scope: Scope, receive: Receive, send: Send) -> None:
        clock, options = self.options.clock, self.options
        answer, headers = await self._decide(incoming, entry)
        try:
            entry.ended = await deliver(answer, entry.response, headers, clock, scope, receive, send)
        except Cut:
            entry.ended = "cut"
            raise
        except asyncio.CancelledError:
            entry.ended = "left"
            raise
        finally:
            entry.elapsed_s = clock.now() - entry.started_s
            if options.on_done is not None:
                options.on_done(entry)

    def _headers(self, incoming: Incoming, dialect: Dialect, request_id: str) -> Headers:
        name = b"request-id" if dialect == "anthropic" else b"x-request-id"
        headers: Headers = [(name, request_id.encode())]
        if incoming.world.bucket is not None:
            headers += incoming.world.bucket.headers(dialect, EPOCH)
        return headers

    def _fault(self, incoming: Incoming, entry: Entry) -> Fault | None:
        told = incoming.headers.get(b"x-sim-fault")
        if told is not None:
            fault = parse_fault(told.decode("latin-1"))
            hits = fault.hits(number=incoming.number, path=incoming.path, model="", dice=incoming.dice)
            return fault if hits else None
        if not incoming.world.has_faults:
            return None
        path, model = entry.path, entry.model
        return incoming.world.fault_for(number=incoming.number, path=path, model=model, dice=incoming.dice)

    async def _answer(self, incoming: Incoming, dialect: Dialect) -> Answer:
        check_key(incoming.headers, dialect, self.options.api_keys)
        if self._tape is not None:
            return await self._tape.answer(incoming)
        if incoming.method == "GET" and incoming.path == "/models":
            return self._gets(incoming)
        if incoming.method == "GET" and incoming.path.startswith("/models/"):
            return self._get_one(incoming, incoming.path.removeprefix("/models/"))
        conversing = self._conversing.get(incoming.path)
        post = self._posts.get(incoming.path)
        if conversing is None and post is None and incoming.path != "/models":
            text = f"Invalid URL ({incoming.method} {incoming.path})" if dialect == "openai" else "Not found"
            raise Refusal(404, text)
        if incoming.method != "POST":
            hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
            text = f"Not allowed to {incoming.method} on {incoming.path}. {hint}"
            raise Refusal(405, text if dialect == "openai" else "Method Not Allowed", code="method_not_supported")
        if conversing is not None:
            return await self._converse(conversing, incoming, dialect)
        assert post is not None
        self._spend(incoming, len(incoming.body) // 4, dialect)
        return post(incoming)

    async def _converse(self, api: Conversing, incoming: Incoming, dialect: Dialect) -> Answer:
        ask = api.read(incoming)
        self._check_model(ask, dialect)
        prompt = self._count.prompt(ask)
        window = self.options.context_window
        if window is not None and prompt > window:
            raise _too_long(prompt, window, dialect)
        self._spend(incoming, prompt, dialect)
        brain = self.brains.of(ask.model, incoming.world.script)
        reply = limited(_with_ids(await brain.reply(ask), ask), ask)
        cached = 0 if incoming.pure else incoming.world.cached_tokens(ask, prompt)
        counts = self._count.counts(reply, cached, prompt)
        if ask.stream:
            return Answer(headers=(STREAM,), acts=api.events(ask, reply, counts), streamed=True, tokens=counts.completion)
        return Answer(acts=(api.whole(ask, reply, counts),), tokens=counts.completion)

    def _check_model(self, ask: Ask, dialect: Dialect) -> None:
        if not self.options.models or ask.model in self.options.models:
            return
        if dialect == "anthropic":
            raise Refusal(404, f"model: {ask.model}")
        message = f"The model `{ask.model}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")

    def _spend(self, incoming: Incoming, tokens: int, dialect: Dialect) -> None:
        bucket = incoming.world.bucket
        if bucket is None:
            return
        wait_s = bucket.take(tokens, self.options.clock.now())
        if wait_s:
            seconds = f"{wait_s:.3f}".rstrip("0").rstrip(".")
            text = f"Rate limit reached. Please try again in {seconds}s."
            code = "rate_limit_exceeded" if dialect == "openai" else None
            raise Refusal(429, text, code=code, headers={"retry-after": seconds})

    def _count_tokens(self, incoming: Incoming) -> Answer:
        return whole({"input_tokens": self._count.prompt(self._messages.read(incoming, counting=True))})


def _with_ids(reply: Reply, ask: Ask) -> Reply:
    """`reply` with ids for the calls that have none, in the provider's style."""
    if not reply.calls:
        return reply
    prefix = "toolu_01" if ask.api == "messages" else "call_"
    calls = tuple(
        call if call.id else Call(call.name, call.arguments, ask.dice.id(prefix, f"call{index}"))
        for index, call in enumerate(reply.calls)
    )
    return replace(reply, calls=calls)


def _refused(refusal: Refusal, dialect: Dialect, request_id: str) -> Answer:
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    return Answer(
        status=refusal.status,
        headers=((b"content-type", b"application/json"), *headers),
        acts=(error_body(refusal, dialect, request_id),),
    )


def _too_long(prompt: int, window: int, dialect: Dialect) -> Refusal:
    if dialect == "anthropic":
        return Refusal(400, f"prompt is too long: {prompt} tokens > {window} maximum")
    text = (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {prompt} tokens. "
        "Please reduce the length of the messages."
    )
    return Refusal(400, text, param="messages", code="context_length_exceeded")


def _timing(headers: Mapping[bytes, bytes], timing: Timing) -> Timing:
    """The timing of a request: `timing`, with what its header says instead."""
    told = headers.get(b"x-sim-timing")
    if told is None:
        return timing
    pairs = [word.partition("=") for word in told.decode("latin-1").replace(",", " ").split()]
    return timing.with_words({name: value for name, _, value in pairs})


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if the client left."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return b""  # refused like any body that is no JSON; reading on would only cost memory
    return b"".join(parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
