"""``@tool``: a plain function becomes a tool and stays a function."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, Unpack, get_args, overload

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.extraction import Extraction
from quarterdeck.core.tools import Effect, FieldKind, Tool, ToolContext
from quarterdeck.tools.docstring import read_docstring
from quarterdeck.tools.encode import collect, collect_async
from quarterdeck.tools.schema import Parameters, read_parameters
from quarterdeck.tools.threads import in_thread
from quarterdeck.tools.values import values_of

__all__ = ["FunctionTool", "ToolOptions", "as_tool", "tool"]

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}\Z")  # what every provider accepts
_MAX_OUTPUT_CHARS = 1 << 20
_RISKS: Mapping[str, int] = {"none": 0, "low": 1, "medium": 2, "high": 3}
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "description", "sink", "undo"), (str,)),
    **dict.fromkeys(("idempotent", "trusted", "needs_approval", "inline"), (bool,)),
    "resolver": (bool, dict),
    "fields": (dict,),
    **dict.fromkeys(("key", "identity", "content"), (tuple, list)),
    **dict.fromkeys(("retries", "max_output_chars"), (int,)),
    "timeout_s": (int, float),
    "risk": (int, str),
}
_USUAL_RISK: Mapping[Effect, int] = {
    Effect.READ: 0,
    Effect.READ_EGRESS: 1,
    Effect.WRITE_LOCAL: 1,
    Effect.WRITE: 2,
    Effect.WRITE_EGRESS: 2,
}


class ToolOptions(TypedDict, total=False):
    """What `tool` may be told. What is not said counts as dangerous: a write of risk 2 whose result is untrusted.

    Attributes:
        name, description: Instead of the function's name and docstring.
        effect: ``read``, ``read_egress``, ``write_local``, ``write``, ``write_egress``.
        risk: 0 to 3, or none, low, medium, high; the usual one of the effect if not said (reads 0, local 1, writes 2).
        idempotent: The target deduplicates by ``ctx.idempotency_key``.
        key: Parameters that name the business operation of a write, such as ``("order_id",)``: however many runs of a tenant
            ask for it, it is done once, and the others get its result.
        identity: Parameters that say who or where: recipient, path, url, account, id.
        content: Parameters with free text that goes out.
        sink: Who can read what is sent: ``user``, ``tenant``, ``emails(to,cc)``, ``users(assignee)``, ``groups(team)``.
        undo: Name of the tool that takes back what a call of this write did. Its parameters are filled by name, from the
            result if that is an object, else from the arguments.
        scope: Right the caller must hold.
        trusted: Outsiders cannot choose any text in its results.
        resolver: Its results may ground identity arguments. A mapping of a field that our own system fills, such as an id,
            to the argument it is for says that only these do, where one thing was found.
        fields: Path of a field of its results, such as ``holder.name`` → ``trusted`` (our own system fills it),
            ``untrusted`` (outsiders may write it) or ``readers`` (it names who may read what it stands in).
        extract: A type with bounded fields, or an `Extraction`: only such values of its results are shown to an agent, taken
            out of them by a model that can do nothing else.
        needs_approval: Every call becomes a draft.
        timeout_s: Seconds one execution may take.
        retries: How often a read is tried again after a time-out.
        max_output_chars: Longer output is cut; at most 1 MiB.
        inline: A sync function that computes for microseconds: runs on the event loop, which its timeout cannot stop.
        meta: Kept with the tool, not interpreted.
    """

    name: str
    description: str
    effect: Effect | Literal["read", "read_egress", "write_local", "write", "write_egress"]
    risk: int | Literal["none", "low", "medium", "high"]
    idempotent: bool
    key: tuple[str, ...]
    identity: tuple[str, ...]
    content: tuple[str, ...]
    sink: str
    undo: str
    scope: str | None
    trusted: bool
    resolver: bool | Mapping[str, str]
    fields: Mapping[str, FieldKind]
    extract: type | Extraction
    needs_approval: bool
    timeout_s: float
    retries: int
    max_output_chars: int
    inline: bool
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool(Tool, Generic[P, R]):
    """A tool that is still the function it was made of: call it, and nothing but the function runs."""

    function: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """Where ``inspect`` finds the signature."""
        return self.function

    @property
    def __name__(self) -> str:
        return self.name


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None, /, **options: Unpack[ToolOptions]
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Declare a function as a tool: ``@tool`` or ``@tool(effect="read", ...)``; the options are those of `ToolOptions`.

    The function may be sync (it runs in a worker thread) or async, or a generator of either kind, whose items become a list.
    A parameter annotated ``ToolContext`` receives the surroundings of the call and is hidden from the model.

    Raises:
        Misconfigured: The declaration contradicts itself or the function; the message says how.
    """
    caller = sys._getframe(1)  # noqa: SLF001 - annotations may name types that are local to where the tool is written
    if function is not None:
        return _make(function, {}, caller)

    def declare(function: Callable[P, R]) -> FunctionTool[P, R]:
        return _make(function, options, caller)

    return declare


def as_tool(value: Tool | Callable[..., Any]) -> Tool:
    """A tool as it is; a bare function as what it must be taken for: a write of risk 2 with an untrusted result.

    Raises Misconfigured for anything else.
    """
    if not callable(value) and not isinstance(value, Tool):
        raise Misconfigured(f"{value!r} is no tool: a tool is a function, declared with @tool or bare")
    return value if isinstance(value, Tool) else _make(value, None, None)


def _make(function: Callable[P, R], options: ToolOptions | None, caller: FrameType | None) -> FunctionTool[P, R]:
    said: ToolOptions = options or {}
    _check_options(said)
    name = said.get("name") or getattr(function, "__name__", None) or type(function).__name__
    if _NAME.match(name) is None:
        raise Misconfigured(f"tool {name!r}: a name is 1 to 64 of a-z, A-Z, 0-9, '_', '-' and begins with a letter")
    parameters = read_parameters(function, name, caller.f_locals if caller else None)
    effect, risk = _effect(name, said), _risk(name, said)
    limit = said.get("max_output_chars", 20_000)
    resolver = said.get("resolver", False)
    made = FunctionTool(
        name=name,
        description=said.get("description") or read_docstring(function).text or name.replace("_", " "),
        input_schema=parameters.schema,
        bind=parameters.bind,
        run=_runner(function, parameters, limit, inline=said.get("inline", False)),
        effect=effect,
        risk=_USUAL_RISK[effect] if risk is None else risk,
        idempotent=said.get("idempotent", False),
        key_args=tuple(said.get("key", ())),
        identity_args=tuple(said.get("identity", ())),
        content_args=tuple(said.get("content", ())),
        scope=said.get("scope"),
        trusted=said.get("trusted", False),
        resolver=resolver is True,
        resolver_fields=resolver if isinstance(resolver, dict) else {},
        fields=said.get("fields", {}),
        extraction=values_of(said["extract"], name) if "extract" in said else None,
        timeout_s=said.get("timeout_s", 30.0),
        retries=said.get("retries", 0),
        max_output_chars=limit,
        needs_approval=said.get("needs_approval", False),
        sink=said.get("sink", ""),
        undo=said.get("undo", ""),
        declared=options is not None,
        meta=said.get("meta", {}),
        function=function,
    )
    _check(made, parameters)
    return made


def _check_options(options: ToolOptions) -> None:
    unknown = sorted(options.keys() - ToolOptions.__annotations__.keys())
    if unknown:
        raise Misconfigured(f"@tool knows no option {', '.join(unknown)}; it knows {', '.join(ToolOptions.__annotations__)}")
    for name, kinds in _KINDS.items():
        value = options.get(name)
        if name in options and type(value) not in kinds:  # exactly: True is no number and "no" no truth value
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise Misconfigured(f"@tool: {name}={value!r} is {type(value).__name__} and must be {wanted}")


def _effect(name: str, options: ToolOptions) -> Effect:
    try:
        return Effect(options.get("effect", Effect.WRITE))
    except ValueError as error:
        raise Misconfigured(f"tool {name}: effect {options.get('effect')!r} is none of {', '.join(Effect)}") from error


def _risk(name: str, options: ToolOptions) -> int | None:
    risk = options.get("risk")
    level = _RISKS.get(risk, -1) if isinstance(risk, str) else risk
    if level is not None and level not in range(4):
        raise Misconfigured(f"tool {name}: risk {risk!r} is none of 0 to 3, none, low, medium, high")
    return level


def _check(made: Tool, parameters: Parameters) -> None:
    known = parameters.names
    for kind, named in (("key", made.key_args), ("identity", made.identity_args), ("content", made.content_args)):
        if missing := [each for each in named if each not in known]:
            raise Misconfigured(
                f"tool {made.name}: {kind} names {', '.join(missing)}; it takes {', '.join(known) or 'nothing'}"
            )
    if both := sorted({*made.identity_args} & {*made.content_args}):
        raise Misconfigured(f"tool {made.name}: {', '.join(both)} is either identity or content")
    if wrong := [f"{path}: {kind}" for path, kind in made.fields.items() if kind not in get_args(FieldKind)]:
        raise Misconfigured(f"tool {made.name}: fields says {', '.join(wrong)}; it is {', '.join(get_args(FieldKind))}")
    if not 0 < made.timeout_s < math.inf:
        raise Misconfigured(f"tool {made.name}: timeout_s must be above 0 and finite")
    if not 1 <= made.max_output_chars <= _MAX_OUTPUT_CHARS:
        raise Misconfigured(f"tool {made.name}: max_output_chars must be from 1 to {_MAX_OUTPUT_CHARS}")
    if made.key_args and made.is_read:
        raise Misconfigured(f"tool {made.name}: only a write has a key; a read may simply be repeated")
    if made.undo and (made.is_read or made.undo == made.name):
        raise Misconfigured(f"tool {made.name}: undo names another tool, and only a write has one")
    if made.retries < 0 or (made.retries and not made.is_read):
        raise Misconfigured(f"tool {made.name}: only a read is tried again by itself; retries must be 0")


def _runner(
    function: Callable[..., Any], parameters: Parameters, limit: int, *, inline: bool
) -> Callable[[dict[str, Any], ToolContext], Awaitable[Any]]:
    """How the function is executed: awaited, in a worker thread, or on the loop where its author asked for that."""

    async def run_async(args: dict[str, Any], ctx: ToolContext) -> Any:
        positional, named = parameters.call(args, ctx)
        return await _settled(function(*positional, **named), limit)

    async def run_in_thread(args: dict[str, Any], ctx: ToolContext) -> Any:
        positional, named = parameters.call(args, ctx)

        def work() -> Any:
            value = function(*positional, **named)
            # Each step of a generator is the function's own code, so it belongs in the thread as well.
            return collect(value, limit) if isinstance(value, Iterator) else value

        return await _settled(await in_thread(work), limit)

    return run_async if inline or _is_async(function) else run_in_thread


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - an object with an async __call__ is async too
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (inspect.unwrap(function), call)
    )


async def _settled(value: Any, limit: int) -> Any:
    if inspect.isawaitable(value):
        value = await value
    return await collect_async(value, limit) if isinstance(value, AsyncIterator) else value
