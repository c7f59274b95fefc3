"""The command ``quarterdeck simulate``: a simulated provider of models on this machine."""

from __future__ import annotations

import json as jsonlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli.show import AsJson, console, plain

if TYPE_CHECKING:
    from quarterdeck.devtools.simulator import Entry, Options

__all__ = ["simulate"]


def simulate(
    port: Annotated[int, typer.Option(help="Port of 127.0.0.1; 0 takes a free one.")] = 8090,
    script: Annotated[list[Path] | None, typer.Option(help="Script, YAML or Python; may be given several times.")] = None,
    seed: Annotated[str, typer.Option(help="Fixes text, ids, timing and faults.")] = "0",
    ttft: Annotated[float, typer.Option(help="Seconds until the first token.")] = 0.0,
    speed: Annotated[float | None, typer.Option(help="Tokens per second; without it there is no delay.")] = None,
    jitter: Annotated[float, typer.Option(help="Part by which delays differ, 0 to 1.")] = 0.0,
    virtual: Annotated[bool, typer.Option("--virtual", help="Delays take no real time.")] = False,
    fault: Annotated[list[str] | None, typer.Option(help="Such as 'cut request=3 after_chunk=5'.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests per minute before 429.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models there are; any without it.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="API keys that are accepted; any without it.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Take parameters the provider does not know.")] = False,
    record: Annotated[Path | None, typer.Option(help="Cassette to write what --upstream answers to.")] = None,
    upstream: Annotated[str, typer.Option(help="Base URL of a real provider, for --record.")] = "",
    replay: Annotated[Path | None, typer.Option(help="Cassette to answer from.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Print every request and its answer, one JSON object per line.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Be a model provider: OpenAI's and Anthropic's APIs without a model, until told to stop."""
    import anyio

    from quarterdeck.devtools.simulator import Options, RateLimit, RealClock, Timing, VirtualClock, load_script
    from quarterdeck.devtools.simulator.faults import parse_fault

    options = Options(
        seed=seed,
        scripts=[load_script(path) for path in script or ()],
        models=model or (),
        timing=Timing(ttft_s=ttft, tokens_per_s=speed, jitter=jitter),
        clock=VirtualClock() if virtual else RealClock(),
        faults=[parse_fault(text) for text in fault or ()],
        rate_limit=RateLimit(requests_per_min=rpm) if rpm is not None else None,
        api_keys=key or (),
        strict=not lenient,
        on_done=_print if log else None,
    )
    serving = partial(_serve, options, port, record, upstream, replay, json)
    anyio.run(serving, backend_options={"use_uvloop": True})


async def _serve(
    options: Options, port: int, record: Path | None, upstream: str, replay: Path | None, told_as_json: bool
) -> None:
    import signal

    import anyio

    from quarterdeck.devtools.simulator import Simulator

    async with Simulator(options, port=port, record=record, upstream=upstream, replay=replay) as simulator:
        # Listens for signals before it says that it is ready: whoever reads that may send one at once.
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            _announce(simulator.url, told_as_json=told_as_json)
            async for _ in signals:
                return


def _announce(url: str, *, told_as_json: bool) -> None:
    if told_as_json:
        print(jsonlib.dumps({"url": url, "base_url": f"{url}/v1"}), flush=True)
        return
    out = console()
    out.print(f"[bold]A simulated provider[/] is ready: [bold]{url}[/]")
    out.print(f"  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=any", markup=False)
    out.print(f"  ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=any", markup=False)
    out.print(f"  what was asked: {url}/__sim/requests", markup=False)
    sys.stdout.flush()


def _print(entry: Entry) -> None:
    print(plain(jsonlib.dumps(entry.shown(), ensure_ascii=False)), flush=True)
