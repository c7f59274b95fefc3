"""The real topology on this machine: ``python -m deploy.fleet``, stopped by Ctrl-C; `restart` and `stop` from elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from deploy.processes import FleetError
from deploy.record import restart, stop, sweep
from deploy.topology import Fleet, Plan, Unwanted

ROOT = Path(__file__).parents[1]


def main() -> int:
    arguments = _arguments()
    try:
        match arguments.command:
            case "restart":
                for name in restart(arguments.home, tuple(arguments.names)):
                    print(f"{name} is back", flush=True)
            case "stop":
                stop(arguments.home)
            case _:
                _up(arguments)
    except FleetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _up(arguments: argparse.Namespace) -> None:
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopping.append(received))
    home: Path = arguments.home
    home.mkdir(parents=True, exist_ok=True)
    sweep(home)
    latency_ms: float | None = arguments.model_latency_ms
    fleet = Fleet(
        Plan(
            folder=arguments.folder,
            home=home,
            port=arguments.port,
            replicas=arguments.replicas,
            workers=arguments.workers,
            model_latency_s=None if latency_ms is None else latency_ms / 1000,
        ),
        stopping=lambda: bool(stopping),
    )
    try:
        fleet.start()
        _announce(fleet, arguments)
        fleet.keep_up()
    except Unwanted:
        pass
    finally:
        fleet.stop()


def _announce(fleet: Fleet, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"url": fleet.url, "keys_file": str(fleet.keys), "logs": str(arguments.home)}), flush=True)
        return
    print(f"The fleet is ready: {fleet.url}")
    print(f"  nginx, {arguments.replicas} replicas, {arguments.workers} workers, Postgres, Redis; logs in {arguments.home}")
    print(f"  every caller needs a key; they are in {fleet.keys}")
    print("  what is stored is removed when the fleet stops (Ctrl-C)")
    print("Try, in another terminal:")
    print(f"  export QUARTERDECK_KEY=$(awk 'NR == 1 {{print $2}}' {fleet.keys})")
    ask = """-H 'Content-Type: application/json' -d '{"message": "What can you help me with?"}'"""
    print(f'  curl -s {fleet.url}/chat -H "Authorization: Bearer $QUARTERDECK_KEY" {ask}')
    print(f"  {sys.executable} -m deploy.fleet restart  # every replica and worker, one after the other", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.fleet", description=__doc__)
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "fleet", help="folder of logs and of the record")
    commands = parser.add_subparsers(dest="command")
    again = commands.add_parser("restart", help="end parts one after the other; each is started again before the next")
    again.add_argument("names", nargs="*", metavar="PART", help="such as api-2; every replica and worker without one")
    commands.add_parser("stop", help="end the fleet")
    parser.add_argument("--folder", type=Path, default=ROOT / "examples" / "support_desk", help="configuration folder")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8080")), help="of nginx; 0 for a free one")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model-latency-ms", type=float, help="ask a simulated provider that takes that long")
    parser.add_argument("--json", action="store_true", help="say that it is ready in one line of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
