"""What lines are judged by: measures and tests, each taken once, when the first line needs it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from bench.lines.line import Found, Line, Shown, judge
from bench.measure import Measure

WAITING = frozenset({"heartbeats"})  # for a minute they do nothing but wait: they are taken beside the others

Take = Callable[[str], Sequence[Measure]]
Run = Callable[[Collection[str]], Mapping[str, Sequence[Shown]]]


def judged(lines: Sequence[Line], take: Take, run: Run) -> Iterator[Found]:
    """What was found of each line, in their order, each as soon as what it needs is there.

    Args:
        take: Takes a measure by its name; raises RuntimeError if that is not possible.
        run: Runs tests by their names; those of one file come together, for as many lines as they belong to.
    """
    with ThreadPoolExecutor() as beside:
        needed = dict.fromkeys(source.measure for line in lines for source in line.figures)
        waiting = {name: beside.submit(_taken, name, take) for name in needed if name in WAITING}
        figures: dict[str, Sequence[Measure]] = {}
        outcomes: dict[str, Mapping[str, Sequence[Shown]]] = {}  # by file
        files = _by_file([test for line in lines for test in line.tests])
        for line in lines:
            for source in line.figures:
                if source.measure not in figures:
                    figures[source.measure] = _figures(source.measure, take, waiting)
            for path in _by_file(line.tests):
                if path not in outcomes:
                    outcomes[path] = run(files[path])
            yield judge(line, figures, {test: shown for ran in outcomes.values() for test, shown in ran.items()})


def _figures(name: str, take: Take, waiting: Mapping[str, Future[Sequence[Measure]]]) -> Sequence[Measure]:
    return waiting[name].result() if name in waiting else _taken(name, take)


def _by_file(tests: Collection[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for test in dict.fromkeys(tests):
        files.setdefault(test.partition("::")[0], []).append(test)
    return files


def _taken(name: str, take: Take) -> Sequence[Measure]:
    """The figures of a measure; none if it could not be taken."""
    began = time.monotonic()
    try:
        return take(name)
    except RuntimeError as error:
        print(f"{name}: could not be measured\n{error}", file=sys.stderr)
        return ()
    finally:
        print(f"# {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
