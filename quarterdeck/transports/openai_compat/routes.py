"""The routes of OpenAI's interface: the agents as models, questions as chat completions and as responses."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Conflict, DeadlineExceeded
from quarterdeck.core.ids import check_id, content_hash
from quarterdeck.core.messages import Role
from quarterdeck.core.runs import AgentSpec, ClientTool
from quarterdeck.service.desk import Desk, Followed, Question
from quarterdeck.service.history import Turn
from quarterdeck.service.views import RunView
from quarterdeck.transports.http.asking import Waiting, WaitingAs, answered, leaver
from quarterdeck.transports.http.callers import Asker, until_over
from quarterdeck.transports.http.description import allowed
from quarterdeck.transports.http.keys import IdempotencyKey, checked
from quarterdeck.transports.http.sse import DONE, EVENTS, EventStream
from quarterdeck.transports.http.wire import Json
from quarterdeck.transports.openai_compat import embeddings
from quarterdeck.transports.openai_compat.bodies import ChatCompletion, ModelBody, ModelList, ResponseObject
from quarterdeck.transports.openai_compat.chat import ChatChunks, Served, completion
from quarterdeck.transports.openai_compat.errors import COMPAT_PROBLEMS, CompatRoute, Unserved
from quarterdeck.transports.openai_compat.ignoring import marked
from quarterdeck.transports.openai_compat.requests import Asked, ChatBody, ResponseBody, asked, ignored, refuse_unserved
from quarterdeck.transports.openai_compat.responses import PREFIX, ResponseEvents, response
from quarterdeck.transports.openai_compat.tools import client_tools

__all__ = ["router"]


router = APIRouter(route_class=CompatRoute, tags=["openai"], responses=COMPAT_PROBLEMS)
router.include_router(embeddings.router)

_FramesOf = Callable[[str], ChatChunks | ResponseEvents]


def _either(whole: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "model": whole,
            "description": "Whole, or with `stream` as events.",
            "content": {"text/event-stream": EVENTS},
        }
    }


@router.get("/v1/models", responses={200: {"model": ModelList}})
async def models(request: Request, caller: Asker) -> Response:
    """The agents one can ask, as models."""
    desk: Desk = request.app.state.desk
    return Json({"object": "list", "data": [_model(agent) for agent in desk.agents.values()]})


@router.get("/v1/models/{model}", responses={200: {"model": ModelBody}})
async def model(request: Request, caller: Asker, model: str) -> Response:
    """One agent, as a model."""
    return Json(_model(_agent(request.app.state.desk, model)))


@router.post("/v1/chat/completions", responses=_either(ChatCompletion))
async def chat_completions(
    request: Request, body: ChatBody, caller: Asker, how: WaitingAs, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask the agent named by `model`; the last message is the question."""
    agent = _agent(request.app.state.desk, body.model)
    refuse_unserved(body)
    tools = client_tools(body.tools or (), body.tool_choice)
    said = asked(body.messages, "messages")
    question = _question(request, agent, said.text, idempotency_key, history=said.before, since=said.since, tools=tools)
    served = _served(agent, body.metadata)
    if body.stream:
        tells_usage = bool(body.stream_options and body.stream_options.include_usage)

        def frames(run_id: str) -> ChatChunks:
            return ChatChunks(run_id, served, live=agent.output_schema is None, tells_usage=tells_usage)

        return marked(await _streamed(request, caller, question, how, frames, DONE), ignored(body))
    run = await answered(request, caller, question, request.app.state.answer_timeout_s, how)
    if not run.rests:
        raise DeadlineExceeded(f"run {run.run_id} is not done yet; it goes on, GET /api/v1/runs/{run.run_id} has the rest")
    return marked(_json(completion(run, served), run), ignored(body))


@router.post("/v1/responses", responses=_either(ResponseObject))
async def responses(
    request: Request, body: ResponseBody, caller: Asker, how: WaitingAs, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask the agent named by `model`; what is not done within the time is ``in_progress`` and can be fetched later."""
    agent = _agent(request.app.state.desk, body.model)
    refuse_unserved(body)
    tools = client_tools(body.tools or (), body.tool_choice)
    said = Asked(text=body.input) if isinstance(body.input, str) else asked(body.input, "input")
    turns = (Turn(role=Role.SYSTEM, text=body.instructions), *said.before) if body.instructions else said.before
    if body.previous_response_id is None:
        question = _question(request, agent, said.text, idempotency_key, history=turns, since=said.since, tools=tools)
    else:
        session_id = await _session_of(request, caller, body.previous_response_id, (*turns, *said.since))
        question = _question(request, agent, said.text, idempotency_key, session_id=session_id, tools=tools)
    served = dataclasses.replace(_served(agent, body.metadata), background=bool(body.background))
    if body.stream:

        def frames(run_id: str) -> ResponseEvents:
            return ResponseEvents(run_id, served, live=agent.output_schema is None)

        return marked(await _streamed(request, caller, question, how, frames, b""), ignored(body))
    wait_s = 0.0 if body.background else request.app.state.answer_timeout_s
    run = await answered(request, caller, question, wait_s, how)
    return marked(_json(response(run, served), run), ignored(body))


@router.get("/v1/responses/{response_id}", responses={200: {"model": ResponseObject}})
async def response_again(request: Request, caller: Asker, response_id: str) -> Response:
    """An answer that was asked for before, as it stands now."""
    desk: Desk = request.app.state.desk
    run = await desk.view(caller, _run_id(response_id))
    agent = desk.agents.get(run.agent)
    fingerprint = _fingerprint(agent) if agent is not None else ""
    return _json(response(run, Served(model=run.agent, fingerprint=fingerprint, metadata={}, background=None)), run)


@router.api_route("/v1/{path:path}", methods=["GET", "POST", "DELETE"], include_in_schema=False)
async def unserved(request: Request, caller: Asker, path: str) -> Response:
    """Everything else of OpenAI's interface."""
    if there := allowed(request.app, f"/v1/{path}"):
        told = f"{request.method} is not served at /v1/{path[:200]}; {there} is"
        raise Unserved("method_not_allowed", told, headers={"Allow": there})
    raise Unserved("not_found", f"{request.method} /v1/{path[:200]} is not served here; /openapi.json says what is")


def _agent(desk: Desk, name: str) -> AgentSpec:
    found = desk.agents.get(name)
    if found is None:
        there = ", ".join(desk.agents)
        raise Unserved("model_not_found", f"there is no agent {name[:64]!r} to be the model; there are: {there}", "model")
    return found


def _model(agent: AgentSpec) -> dict[str, Any]:
    return {"id": agent.name, "object": "model", "created": 0, "owned_by": "quarterdeck", "description": agent.description}


def _served(agent: AgentSpec, metadata: Mapping[str, str] | None) -> Served:
    return Served(model=agent.name, fingerprint=_fingerprint(agent), metadata=metadata or {})


def _fingerprint(agent: AgentSpec) -> str:
    return f"fp_{content_hash(dataclasses.asdict(agent))[:12]}"


def _question(
    request: Request,
    agent: AgentSpec,
    text: str,
    key: str | None,
    *,
    session_id: str | None = None,
    history: tuple[Turn, ...] | None = None,
    since: tuple[Turn, ...] = (),
    tools: tuple[ClientTool, ...] = (),
) -> Question:
    return Question(
        text=text,
        agent=agent.name,
        session_id=session_id,
        history=history,
        since=since,
        tools=tools,
        idempotency_key=checked(key),
        request_id=request.state.request_id,
        trace_id=request.state.trace_id,
        span_id=request.state.span_id,
        tags=request.state.tags,
    )


async def _session_of(request: Request, caller: Principal, response_id: str, turns: Sequence[Turn]) -> str:
    """The session to go on with: that of an earlier answer, which has the history already."""
    if turns:
        raise Unserved(
            "unsupported_parameter", "input: with previous_response_id send the question alone, without history", "input"
        )
    desk: Desk = request.app.state.desk
    run = await desk.view(caller, _run_id(response_id))
    if run.session_id is None:
        raise Conflict(f"the response {response_id} belongs to no session; send the messages instead")
    return run.session_id


def _run_id(response_id: str) -> str:
    return check_id(response_id.removeprefix(PREFIX), "the id of a response")


async def _streamed(
    request: Request, caller: Principal, question: Question, how: Waiting, frames_of: _FramesOf, done: bytes
) -> Response:
    desk: Desk = request.app.state.desk
    async with contextlib.AsyncExitStack() as stack:
        followed: Followed = await stack.enter_async_context(desk.asking(caller, how.on(question), deltas=True))
        request.state.run_id = followed.run_id
        frames = frames_of(followed.run_id)
        over = await until_over(request, caller)
        heartbeat_s: float = request.app.state.heartbeat_s
        return EventStream(
            followed,
            stack.pop_all(),
            frames,
            heartbeat_s=heartbeat_s,
            rests=lambda: frames.rests,
            done=done,
            left=leaver(request, caller, followed.run_id, how),
            over=over,
        )
    raise AssertionError("unreachable: the block returns or raises")


def _json(body: Mapping[str, Any], run: RunView) -> Response:
    return Json(body, headers={"X-Run-Id": run.run_id})
