"""``quarterdeck eval``: ask the cases of a data set, report, and let the exit code decide."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarterdeck.cli.client import Key
from quarterdeck.cli.show import AsJson, console, plain
from quarterdeck.core.errors import InvalidInput, Misconfigured

if TYPE_CHECKING:
    from quarterdeck.evals.base import Asker, Case, Check
    from quarterdeck.evals.gate import Verdict
    from quarterdeck.evals.report import Report
    from quarterdeck.evals.runner import Result, Trial
    from quarterdeck.settings import Configuration

__all__ = ["evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How to ask: see the options of the command."""

    folder: Path | None
    url: str | None
    key: str | None
    keys: Path | None
    judge: str | None
    own: tuple[str, ...]
    parallel: int
    repeat: int
    timeout_s: float


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Cases, one a line, as JSON.")],
    folder: Annotated[
        Path | None, typer.Argument(help="A configuration folder; without one that which holds the data set.")
    ] = None,
    output: Annotated[
        list[Path] | None, typer.Option(help="Write the report; .md, .json or .xml (JUnit) by its name. May be repeated.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Share of the cases that must pass.")] = 0.8,
    floor: Annotated[
        list[str] | None,
        typer.Option(help="The least of a figure, as name=share: sources, support, refusal, answers. May be repeated."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier report (.json): fail if cases got worse by more than chance explains.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Ask each case so often; it passes if it always does.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=100, help="Questions at once.")] = 4,
    smoke: Annotated[bool, typer.Option("--smoke", help="A handful of the cases, chosen by --seed.")] = False,
    seed: Annotated[int, typer.Option(help="Of --smoke.")] = 0,
    tag: Annotated[list[str] | None, typer.Option(help="Only cases with this tag. May be repeated.")] = None,
    check: Annotated[
        list[str] | None, typer.Option(help="A check of your own, as module:function, for all cases. May be repeated.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Model that grades rubrics, in place of models.default.")] = None,
    rubrics: Annotated[
        bool, typer.Option("--rubrics/--no-rubrics", help="Whether rubrics are graded; without, the rest of a case counts.")
    ] = True,
    cases_shown: Annotated[
        bool,
        typer.Option(
            "--cases/--no-cases", help="Whether failed cases are shown; without, figures alone: nothing to tune by."
        ),
    ] = True,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds for one question.")] = 60.0,
    url: Annotated[str | None, typer.Option(help="Ask a server that runs, in place of the folder.")] = None,
    key: Key = None,
    keys: Annotated[Path | None, typer.Option(help="File of a user and an API key a line, for --url.")] = None,
    json: AsJson = False,
) -> None:
    """Measure the answers of a folder's agents, or of a running server's: exit code 1 if they are not good enough."""
    import anyio

    from quarterdeck.evals.dataset import handful, read_cases, with_tags, without_rubrics
    from quarterdeck.evals.gate import judge as judged
    from quarterdeck.evals.render import as_json
    from quarterdeck.evals.report import Report, read_report

    _check_names(output or [])
    floors = _floors(floor or [])
    cases = with_tags(read_cases(dataset), tag or [])
    if not cases:
        raise InvalidInput(f"{dataset}: no case has the tag {' or '.join(tag or [])}")
    if smoke:
        cases = handful(cases, seed)
    if not rubrics and (left := sum(case.rubric is not None for case in cases)):
        print(f"{left} rubrics are not graded", file=sys.stderr)
        cases = without_rubrics(cases)
    before = read_report(baseline) if baseline is not None else None
    wanted = _Wanted(
        folder=folder or _around(dataset),
        url=url,
        key=key,
        keys=keys,
        judge=judge,
        own=tuple(check or ()),
        parallel=parallel,
        repeat=repeat,
        timeout_s=timeout,
    )
    started_at = datetime.now(UTC)
    with _progress(len(cases) * repeat, quiet=json) as on_done, _tidily_ended():
        results = anyio.run(_results, cases, wanted, on_done)
    report = Report(dataset=dataset.name, started_at=started_at, repeat=repeat, cases=results)
    verdict = judged(report, threshold=threshold, floors=floors, baseline=before)
    for path in output or []:
        _write(path, report, verdict)
    if json:
        print(as_json(report, verdict), end="")
    else:
        _show(report, verdict, output or [], failed=cases_shown)
    if not verdict.passed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _tidily_ended() -> Iterator[None]:
    """SIGTERM ends the program as an interrupt does, so that nothing of what was asked and answered stays behind."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _results(cases: tuple[Case, ...], wanted: _Wanted, on_done: Callable[[Case, Trial], None]) -> tuple[Result, ...]:
    from quarterdeck.evals.checks import CHECKS, own_check
    from quarterdeck.evals.runner import run

    with tempfile.TemporaryDirectory(prefix="quarterdeck-eval-") as data:
        configuration = _configured(wanted, Path(data))
        async with contextlib.AsyncExitStack() as stack:
            checks: dict[str, Check] = {**CHECKS, **{name: own_check(name) for name in _importable(wanted.own)}}
            if any(case.rubric is not None for case in cases):
                if configuration is None:
                    raise Misconfigured("grading rubrics needs a configuration folder, which says how models are reached")
                from quarterdeck.app.evaluation import grading

                checks["rubric"] = await stack.enter_async_context(grading(configuration, wanted.judge))
            asker = await stack.enter_async_context(_asking(configuration, wanted))
            return await run(cases, asker, checks, parallel=wanted.parallel, repeat=wanted.repeat, on_done=on_done)


def _configured(wanted: _Wanted, data: Path) -> Configuration | None:
    from quarterdeck.app.evaluation import apart
    from quarterdeck.settings import load

    if wanted.folder is not None:
        return load(wanted.folder, os.environ, apart(data))
    if wanted.url is None:
        raise Misconfigured("the data set lies in no configuration folder: name one, or a server with --url")
    return None


@contextlib.asynccontextmanager
async def _asking(configuration: Configuration | None, wanted: _Wanted) -> AsyncIterator[Asker]:
    people = configuration.users if configuration is not None else ()
    if wanted.url is not None:
        from quarterdeck.cli.served import ServerAsker, read_keys

        keys = read_keys(wanted.keys)
        yield ServerAsker(wanted.url, keys=keys, key=wanted.key, people=people, timeout_s=wanted.timeout_s)
    elif configuration is not None:
        from quarterdeck.app.runtime import opened
        from quarterdeck.evals.asking import DeskAsker

        async with opened(configuration) as runtime:
            for warning in runtime.warnings:
                print(plain(warning), file=sys.stderr)
            yield DeskAsker(runtime.desk, people, timeout_s=wanted.timeout_s)


def _importable(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, once modules of the working directory can be imported, as ``python -m`` would."""
    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return names


def _around(dataset: Path) -> Path | None:
    """The nearest folder around the data set that is a configuration folder."""
    return next((folder for folder in dataset.resolve().parents if (folder / "quarterdeck.yaml").is_file()), None)


def _check_names(paths: list[Path]) -> None:
    """Raises InvalidInput before anything is asked, rather than after."""
    from quarterdeck.evals.render import FORMATS

    for path in paths:
        if path.suffix not in FORMATS:
            raise InvalidInput(f"{path}: the name of a report ends in {', '.join(FORMATS)}")
        if path.is_dir():
            raise InvalidInput(f"{path}: a report is a file, and this is a folder")
        if not path.resolve().parent.is_dir():
            raise InvalidInput(f"{path}: there is no folder {path.resolve().parent}")


def _write(path: Path, report: Report, verdict: Verdict) -> None:
    from quarterdeck.evals.render import FORMATS

    path.write_text(FORMATS[path.suffix](report, verdict), encoding="utf-8", errors="backslashreplace")


def _show(report: Report, verdict: Verdict, written: list[Path], *, failed: bool) -> None:
    from quarterdeck.evals.report import totals

    out = console()
    for case in report.cases:
        if failed and case.status != "passed":
            out.print(f"{case.status} {plain(case.id)}: {plain(case.input)}", style="red", markup=False)
            for fault in dict.fromkeys(fault for trial in case.trials for fault in trial.faults):
                out.print(f"  {plain(fault)}", markup=False)
    found = totals(report.cases)
    cost = "of unknown cost" if found.cost_usd is None else f"{found.cost_usd:.4f} USD"
    out.print(
        f"{plain(', '.join(report.models))} · {found.average_latency_ms:.0f} ms on average · {cost}",
        style="dim",
        markup=False,
    )
    for line in _measured(report):
        out.print(plain(line), markup=False)
    for reason in verdict.reasons:
        out.print(plain(reason), markup=False)
    for path in written:
        out.print(f"report: {path}", style="dim", markup=False)
    out.print("passed" if verdict.passed else "failed", style="bold green" if verdict.passed else "bold red", markup=False)


def _measured(report: Report) -> Iterator[str]:
    """The figures of answers from knowledge, and how far confidence can be believed; nothing of a set without any."""
    from quarterdeck.evals.calibration import calibration
    from quarterdeck.evals.figures import figures

    found = figures(report.cases)
    if found.sources.of or found.support.of or found.refusal.of:
        yield f"source accuracy {found.sources} · support {found.support} · refusal {found.refusal} · leaks {found.leaks}"
    if (calibrated := calibration(report.cases)) is None:
        return
    yield f"confidence of {calibrated.answers} answers: Brier score {calibrated.brier:.3f}, ECE {calibrated.ece:.3f}"
    for one in (*calibrated.levels, *calibrated.bins):
        yield f"  {one.name}: {one.right} of {one.answers} right ({one.share_right:.1%}), mean score {one.mean_score:.3f}"


def _floors(written: list[str]) -> dict[str, float]:
    """Floors by figure. Raises InvalidInput for what names none."""
    from quarterdeck.evals.figures import FLOORED

    floors: dict[str, float] = {}
    for text in written:
        name, _, share = text.partition("=")
        try:
            floors[name] = float(share)
        except ValueError as error:
            raise InvalidInput(f"{text!r} is no floor; write sources=0.9, for example") from error
        if name not in FLOORED or not 0 <= floors[name] <= 1:
            raise InvalidInput(f"{text!r}: a floor is 0 to 1, of {', '.join(FLOORED)}")
    return floors


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[Case, Trial], None]]:
    if quiet:
        yield lambda case, trial: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking", total=total)
        yield lambda case, trial: bar.update(task, advance=1, description=plain(case.id)[:40])
