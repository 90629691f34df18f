"""``nas runs`` and ``compare``: many runs, in a list and side by side."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.style import console, metric, table
from nas.problem.formatting import interval_in_words, scaled
from nas.problem.metrics import METRICS

if TYPE_CHECKING:
    from nas.runs.disk import DiskUse
    from nas.runs.findings.compared_runs import Comparison
    from nas.study.status import Best

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MOST_DIFFERENCES = 8


def runs_command(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder: how far each is, its best, its size on disk."""
    from nas.runs.findings.run_list import UnreadableRun, list_runs, run_list_json

    found = list_runs(folder)
    if as_json:
        typer.echo(json.dumps(run_list_json(found), indent=1))
        return
    heads = ("run", "state", ">trials", ">best", ">front", "?device", "?started")
    made = table(*heads, ">on disk", "?>weights")
    for run in found:
        if isinstance(run, UnreadableRun):
            made.add_row(run.path.name, "cannot be read", style="yellow")
            continue
        made.add_row(
            run.path.name,
            run.state,
            f"{run.done} of {run.wanted}",
            in_short(run.best),
            str(run.front),
            run.device,
            "-" if run.started is None else ago(run.started, datetime.now(UTC)),
            scaled(run.disk.bytes, "B"),
            scaled(run.disk.weight_bytes, "B"),
        )
    console.print(made)
    for run in found:
        if isinstance(run, UnreadableRun):
            console.print(f"{run.path.name}: {run.reason}", style="yellow")


def in_short(best: "Best | None") -> str:
    """Returns the best value of a run, with its interval, and what it is where not accuracy."""
    if best is None:
        return "-"
    said = best.mark + metric(best.objective, best.value)
    said += f" ({interval_in_words(best.interval)})" if best.interval else ""
    return said if best.objective == "accuracy" else f"{METRICS[best.objective].title} {said}"


def ago(then: datetime, now: datetime) -> str:
    """Returns how long ago something was, in the largest unit of which there are two.

    >>> day = datetime(2026, 11, 30, tzinfo=UTC)
    >>> [ago(datetime(2026, 11, d, h, tzinfo=UTC), day) for d, h in ((29, 23), (29, 20), (1, 0))]
    ['60 min ago', '4 h ago', '29 days ago']
    """
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    minutes = max(0.0, (now - then).total_seconds()) / 60
    for unit, size in (("days", 24 * 60), ("h", 60)):
        if minutes >= 2 * size:
            return f"{minutes / size:.0f} {unit} ago"
    return f"{minutes:.0f} min ago"


def disk_line(disk: "DiskUse") -> str:
    """Returns what a run takes on disk, and what of it is not needed for its front."""
    said = f"on disk: {scaled(disk.bytes, 'B')}"
    if not disk.weights:
        return said
    said += f", of it {scaled(disk.weight_bytes, 'B')} weights of {disk.weights} networks"
    rest = disk.weight_bytes - disk.front_weight_bytes
    return f"{said} ({scaled(rest, 'B')} off the front)" if rest else said


def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.")],
    page: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with a chart.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the fronts of runs: hypervolumes with one reference, and which run beats which."""
    from nas.runs.findings.compared_runs import compare_runs, comparison_json
    from nas.study.results import load_results
    from search_spaces.graphs.errors import UserError

    if len({path.resolve() for path in runs}) < max(2, len(runs)):
        raise UserError(f"nas compare takes two or more different runs, got {len(runs)}")
    found = compare_runs(list(zip(short_names(runs), map(load_results, runs), strict=True)))
    if page is not None:
        from nas.report.compared import write_comparison

        write_comparison(found, page)
    if as_json:
        typer.echo(json.dumps(comparison_json(found), indent=1))
        return
    print_comparison(found)
    if page is not None:
        console.print(f"page: {page}")


def short_names(runs: Sequence[Path]) -> list[str]:
    """Returns the folders' names where they tell the runs apart, else the paths.

    >>> short_names([Path("a/digits"), Path("a/photos")]), short_names([Path("a/x"), Path("b/x")])
    (['digits', 'photos'], ['a/x', 'b/x'])
    """
    names = [path.resolve().name for path in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in runs]


def print_comparison(found: "Comparison") -> None:
    numbers = range(len(found.names))
    tags = [chr(ord("A") + run) if len(numbers) <= 26 else f"#{run + 1}" for run in numbers]
    made = table(
        *("", "run", ">front", ">hypervolume", ">unbeaten"),
        *(f"?>beaten by {tag}" for tag in tags),
    )
    for run in numbers:
        front = len(found.front(run))
        beaten = ("-" if run == by else f"{found.beats(by, run)} of {front}" for by in numbers)
        sizes = (str(front), f"{found.hypervolumes[run]:.4g}", str(found.on_joint_front(run)))
        made.add_row(tags[run], found.names[run], *sizes, *beaten)
    console.print(made)
    corner = ", ".join(
        f"{each.name} {metric(each.name, value)}"
        for each, value in zip(found.metrics, found.reference, strict=True)
    )
    console.print(f"hypervolumes go up to {corner}", style="dim")
    made = table("", "network", *(f">{each.name}" for each in found.metrics), "beaten by")
    for point in found.points:
        values = point.trial.evaluation.values
        mark = point.trial.evaluation.mark
        cells = (mark(m.name) + metric(m.name, values[m.name]) for m in found.metrics)
        beaten_by = ", ".join(tags[run] for run in point.beaten_by)
        made.add_row(tags[point.run], point.trial.name, *cells, beaten_by)
    console.print(made)
    if found.differences:
        shown = found.differences[:MOST_DIFFERENCES]
        more = len(found.differences) - len(shown)
        said = "; ".join(shown) + (f"; and {more} more" if more else "")
        console.print(f"their run files differ: {said}")
