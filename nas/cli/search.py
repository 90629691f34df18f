"""``nas search``: run, resume or try out a search."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.device import Drift
from nas.cli.terminal.going_on import search_line
from nas.cli.terminal.options import DataPath, within
from nas.cli.terminal.style import console, print_error
from nas.cli.terminal.tables import is_screen
from nas.cli.terminal.trial_lines import trial_lines

if TYPE_CHECKING:
    from nas.evaluation.place import Place
    from nas.problem.run_file import RunFile
    from nas.study.results import RunResults
    from nas.training.supernet.training import SupernetReport
    from search_spaces.space.space import Architecture

Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]


def search_command(
    config: Annotated[Path, typer.Argument(help="Run file (YAML), e.g. examples/digits.yaml.")],
    more: Annotated[
        list[Path] | None,
        typer.Argument(help="More of what --enqueue names.", show_default=False),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Architectures to evaluate.", callback=within(1))
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that evaluate.", callback=within(1))
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the search.", callback=within(0))
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run.")] = False,
    change: Annotated[
        bool,
        typer.Option(
            "--change",
            help="With --resume: take other constraints, objectives or more epochs; says first "
            "what is kept and what is evaluated again.",
        ),
    ] = False,
    enqueue: Annotated[
        list[Path] | None,
        typer.Option(
            help="Evaluate these first: architecture files, folders of them, or runs (their "
            "fronts).",
        ),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Take part in a search that others do too.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Evaluate on a Ray cluster: auto (see nas cluster up) or HOST:PORT. It trains as "
            "many at once as there is room for, or --workers.",
        ),
    ] = None,
    study_url: Annotated[
        str | None,
        typer.Option(
            help="Where the study is kept: postgresql+psycopg://USER@HOST/DATABASE, "
            "sqlite:///FILE or journal:PATH (default: in the run folder).",
        ),
    ] = None,
    avoid_useless: Annotated[
        bool | None,
        typer.Option(
            "--avoid-useless/--no-avoid-useless",
            help="Replace a precision that is slower and no smaller on the device than a higher "
            "one (default: on).",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(help="Begin nothing new after so long, e.g. 90s, 30m, 2h, 1h30m."),
    ] = None,
    max_drift: Drift = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take one random architecture through every step.")
    ] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: search.trials=20.")
    ] = None,
    data: DataPath = None,
    runs: Runs = Path("runs"),
) -> None:
    """Search for networks that are accurate and cheap on a device."""
    from nas.search.checks import read_search_file

    given = {
        **{"search.trials": trials, "search.workers": workers, "search.seed": seed},
        **{"search.timeout": timeout, "latency.max_drift": max_drift, "data.path": data},
        "search.avoid_useless": avoid_useless,
        "search.storage": None if study_url is None else from_anywhere(study_url),
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    file = read_search_file(config, [*overrides, *(changes or [])], runs)
    if dry_run:
        from nas.search.dry_run import dry_run as try_out

        try_out(file, runs=runs, say=console.print)
        return

    queue = queued(enqueue or (), more or ())

    def again() -> str:
        """Returns the command that goes on with this search."""
        useless = {True: "--avoid-useless", False: "--no-avoid-useless"}
        options: dict[str, object] = {
            **{"--trials": trials, "--workers": workers, "--seed": seed, "--ray": ray},
            **{"--study-url": study_url, "--timeout": timeout, "--max-drift": max_drift},
            **({} if avoid_useless is None else {useless[avoid_useless]: True}),
            **{"--runs": None if runs == Path("runs") else runs, "--join": join, "--data": data},
        }
        begun = resume or (runs / file.name / "run.json").exists()
        if not begun and enqueue:  # else they are in the study
            options["--enqueue"] = [*enqueue, *(more or ())]
        return search_line(config, options, changes or (), is_begun=begun)

    try:
        with place_at(ray, workers) as place:
            results = watched_search(file, runs, resume, join, place, queue, change)
        finish(results, again)
    except KeyboardInterrupt:
        print_error(f"stopped; go on with: {again()}")
        sys.exit(1)


def queued(first: Sequence[Path], more: Sequence[Path]) -> "Sequence[Architecture]":
    """Returns what is to be evaluated first.

    Raises:
        UserError: If there is more than one run file, or a path holds no architecture.
    """
    from search_spaces.graphs.errors import UserError

    if more and not first:
        raise UserError(
            f"a search has one run file, got {more[0]} too; architectures that are to be "
            "evaluated first stand behind --enqueue"
        )
    if not first:
        return ()
    from nas.search.enqueue import read_architectures

    return read_architectures([*first, *more])


@contextmanager
def place_at(ray: str | None, most_trainings: int | None) -> Iterator["Place | None"]:
    """Returns where to evaluate: this machine (None), or the Ray cluster at an address."""
    if ray is None:
        yield None
        return
    from nas.evaluation.instruments import Instruments
    from nas.evaluation.ray.connection import connected
    from nas.evaluation.ray.head_watch import ClusterLostError
    from nas.evaluation.ray.place import RayPlace

    try:
        with connected(ray) as cluster:
            yield RayPlace(cluster, Instruments(), most_trainings)
    except ClusterLostError as error:
        print_error(f"error: {error}")
        os._exit(2)  # Ray's own exit handlers would wait a minute for the head


def from_anywhere(study_url: str) -> str:
    """Returns the address of a study so that it holds in other working folders too."""
    kind, _, path = study_url.partition(":")
    return f"journal:{Path(path).absolute()}" if kind == "journal" and path else study_url


def watched_search(
    file: "RunFile",
    runs: Path,
    resume: bool,
    join: bool,
    place: "Place | None",
    queue: "Sequence[Architecture]",
    change: bool,
) -> "RunResults":
    """Searches behind a progress bar with the time left; prints a line for every trial."""
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

    from nas.cli.terminal.progress import progress_bar, said
    from nas.search.loop import Progress as TrialDone
    from nas.search.run import run_search

    bar = progress_bar(
        MofNCompleteColumn(), TimeElapsedColumn(), said("left"), TimeRemainingColumn()
    )
    config = file.config(is_tried=True)  # as the search does, where it says what is wrong
    lines = trial_lines(config, console.width if is_screen(console) else None)
    shared = bar.add_task("supernet", visible=False)
    task = bar.add_task("searching", total=file.search.trials, start=False)

    def start() -> None:
        bar.start()
        bar.start_task(task)
        bar.console.print(lines.head, style="bold")

    def notify(said: str) -> None:
        bar.console.print(said, style="yellow")

    def show(progress: TrialDone) -> None:
        bar.update(task, completed=progress.done)
        bar.console.print(lines.line(progress))

    def show_supernet(report: "SupernetReport") -> None:
        found = report.found
        bar.update(
            shared,
            visible=report.epoch < report.epochs,
            total=report.epochs,
            completed=report.epoch,
            description=f"supernet: loss {found.largest_loss:.2f}, largest "
            f"{found.largest_accuracy:.1%}, smallest {found.smallest_accuracy:.1%}",
        )

    try:
        return run_search(
            *(file, runs),
            resume=resume,
            join=join,
            place=place,
            enqueue=queue,
            change=change,
            on_start=start,
            on_progress=show,
            on_supernet=show_supernet,
            on_note=notify,
        )
    finally:
        bar.stop()


def about_useless(results: "RunResults") -> str:
    """Returns what became of useless precisions, in one line; "" where there is one to choose."""
    from nas.search.proposals.dominated_genes import offers_precisions, why_not

    if not offers_precisions(results.config.space):
        return ""
    if reason := why_not(results.config):
        return f"useless precisions were not looked for: {reason}"
    return f"useless precisions replaced: {results.num_replaced}"


def about_latency(results: "RunResults") -> str:
    """Returns what became of predicted latencies, in one line; "" where none was predicted."""
    from nas.runs.findings.prediction_quality import in_one_line, latency_quality

    quality = latency_quality(results)
    if not (quality.num_predicted or quality.compared):
        return ""
    unmeasured = len(results.predicted_front)
    more = f"; {unmeasured} of the front to be measured by --resume" if unmeasured else ""
    return in_one_line(quality) + more


def about_archives(results: "RunResults") -> str:
    """Returns what became of estimated archives, in one line; "" where none was estimated."""
    from nas.runs.findings.prediction_quality import archive_quality, archives_in_one_line

    quality = archive_quality(results)
    if not (quality.num_estimated or quality.compared):
        return ""
    left = len(results.estimated_front)
    more = f"; {left} of the front to be written by --resume" if left else ""
    return archives_in_one_line(quality) + more


def finish(results: "RunResults", again: Callable[[], str]) -> None:
    """Scores the front on the test images, writes report and front, prints what was found.

    Args:
        again: Returns the command that goes on with the search.
    """
    from nas.cli.inspect import print_front
    from nas.cli.runs import disk_line
    from nas.report.finish import finish_run, without_weights
    from nas.runs.certainty import class_names, one_answer
    from nas.runs.disk import disk_use
    from nas.runs.findings.retrained_front import heirs_in_one_line
    from nas.study.stopping import in_one_line

    done, wanted = len(results.searched), results.config.search.trials
    if results.ending:
        console.print(
            f"ended after {done} of {wanted} architectures: {results.ending}", style="yellow"
        )
    elif done < wanted:
        console.print(f"stopped after {done} of {wanted} architectures", style="yellow")
    refused = f"proposals that cost no trial: {results.refused}" if results.refused else ""
    sure = (about_latency(results), about_archives(results), heirs_in_one_line(results))
    for said in (refused, about_useless(results), *sure, in_one_line(results)):
        if said:
            console.print(said)
    front = [trial.evaluation for trial in results.front]
    if warning := one_answer(front, class_names(results.run)):
        console.print(warning, style="yellow")
    finish_run(results)
    print_front(results)
    if gone := without_weights(results):
        console.print(
            f"{', '.join(trial.name for trial in gone)}: on the front, but its weights are gone "
            "(search.keep_weights); nas retrain --pick NUMBER trains it",
            style="yellow",
        )
    console.print(disk_line(disk_use(results.run, {trial.hash for trial in results.front})))
    console.print(f"report: {results.run.report_file}")
    unsure = results.predicted_front or results.estimated_front
    if not results.ending and (done < wanted or unsure):
        console.print(f"go on with: {again()}")
