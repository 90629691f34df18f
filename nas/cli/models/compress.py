"""``nas compress``: a recipe from a trained network to a smaller and faster one."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.console import console
from nas.cli.terminal.numbers import accuracy_of, metric
from nas.cli.terminal.tables import table
from nas.cli.terminal.text import escape
from nas.problem.formatting import duration

if TYPE_CHECKING:
    from nas.compression.running.recipe import RecipeFile
    from nas.compression.running.records import Standing, StepRecord
    from nas.compression.running.rehearsal import PlannedStep
    from nas.compression.running.start import Start


def compress_command(
    model: Annotated[
        str,
        typer.Argument(
            help="Model folder (of nas import, an export or a compression), archive (*.hwz), run "
            "folder, or the name of a published network that the recipe trains first."
        ),
    ],
    recipe: Annotated[
        Path, typer.Argument(help="Recipe (YAML), e.g. examples/compress_digits.yaml.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to write (default: runs/NAME).")
    ] = None,
    pick: Annotated[
        str | None, typer.Option(help="Of a run: best, knee (the default), fastest, or a number.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Try every step on a few images, and say how long it takes."
        ),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a value: training.epochs=3, steps.1.prune.ratio=0.3."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Where the data lies (data.path).")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time networks on the device.")
    ] = True,
) -> None:
    """Make a trained network smaller and faster, step by step, and say what each step did."""
    from nas.compression.report.page import write_compression_report
    from nas.compression.running.begin import check_folder
    from nas.compression.running.folder import CompressionFolder
    from nas.compression.running.recipe import read_recipe
    from nas.compression.running.start import load_start

    given = [] if data is None else [f"data.path={json.dumps(data)}"]
    file = read_recipe(recipe, [*given, *(changes or [])])
    folder = CompressionFolder(to or Path("runs") / file.name)
    if not dry_run:
        check_folder(folder, resume)
    start = load_start(model, file.recipe(), pick)
    for note in start.examples.notes:
        console.print(note, style="yellow")
    if dry_run:
        print_plan(start, file)
        return
    options: dict[str, object] = {"--to": to, "--pick": pick, "--data": data}
    again = going_on(model, recipe, options, changes or (), measure)
    try:
        records = watched(start, file, folder, resume, measure)
    except KeyboardInterrupt:
        sys.stderr.write(f"{escape(f'stopped; go on with: {again}')}\n")
        sys.exit(1)
    print_steps(records)
    console.print(f"result: {folder.result}")
    for archive in folder.archives:
        console.print(f"archive: {archive}")
    if folder.export.exists():
        console.print(f"files: {folder.export}")
    console.print(f"report: {write_compression_report(folder)}")


def going_on(
    model: str,
    recipe: Path,
    options: dict[str, object],
    changes: Sequence[str],
    measure: bool,
) -> str:
    """Returns the command that goes on with a compression, quoted for a shell."""
    words = ["nas", "compress", model, str(recipe)]
    for name, value in options.items():
        words += [] if value is None else [name, str(value)]
    for change in changes:
        words += ["--set", change]
    return shlex.join([*words, *([] if measure else ["--no-measure"]), "--resume"])


def print_plan(start: "Start", file: "RecipeFile") -> None:
    """Tries every step, and prints what each will do and how long it will take."""
    from nas.compression.running.rehearsal import rehearse

    plan: Sequence[PlannedStep] = rehearse(start, file.recipe())
    splits = start.splits
    console.print(
        f"{start.stored.name}: input {'x'.join(map(str, start.stored.input_shape))}, "
        f"{start.stored.num_classes} classes; {len(splits.train)} train, "
        f"{len(splits.validation)} validation, {len(splits.test)} test images"
    )
    made = table("step", "what", ">epochs", ">about")
    for each in plan:
        epochs = str(each.epochs) if each.epochs else ""
        about = duration(each.seconds) if each.epochs else ""
        made.add_row(each.step.title, each.summary, epochs, about)
    console.print(made)
    total = sum(each.seconds for each in plan)
    console.print(
        f"every step works; {sum(each.epochs for each in plan)} epochs of training, about "
        f"{duration(total)}; start without --dry-run"
    )


def watched(
    start: "Start", file: "RecipeFile", folder: object, resume: bool, measure: bool
) -> "Sequence[StepRecord]":
    """Runs a recipe behind a progress bar with the time left; prints a line for every step."""
    from nas.cli.terminal.progress import progress_bar, said
    from nas.compression.running.folder import CompressionFolder
    from nas.compression.running.run import compress
    from nas.compression.running.watch import CompressionWatch, EpochDone

    assert isinstance(folder, CompressionFolder)
    with progress_bar(said("{task.fields[left]}")) as bar:
        task = bar.add_task("looking at the network", total=None, left="")

        def begin(title: str) -> None:
            bar.reset(task, total=None, description=title, left="")

        def show(done: EpochDone) -> None:
            report, what = done.report, f" ({done.what})" if done.what else ""
            score = metric("accuracy", report.validation_accuracy)
            epoch = f"epoch {report.epoch} of {report.epochs}"
            bar.update(
                task,
                description=f"{done.title}{what}: {epoch}, {score}",
                total=report.epochs,
                completed=report.epoch,
                left=f"{duration(done.left_s)} left",
            )

        def over(record: "StepRecord") -> None:
            text = f"{record.summary}: {record.skipped}" if record.skipped else record.summary
            bar.console.print(f"{record.title}: {text}")

        watch = CompressionWatch(
            lambda text: bar.console.print(text, style="yellow"), begin, show, over
        )
        return compress(start, file, folder, resume=resume, measure=measure, watch=watch)


def print_steps(records: "Sequence[StepRecord]") -> None:
    """Prints what networks were worth after each step."""
    made = table(
        *("step", ">validation accuracy", ">test accuracy", ">latency", ">parameters"),
        *(">MACs", ">weights", ">archive", ""),
    )
    for record in records:
        found = record.standing
        tested = found.test_accuracy
        time = "-" if found.latency_ms is None else metric("latency_ms", found.latency_ms)
        made.add_row(
            record.title,
            accuracy_of(found.accuracy, found.num_validation),
            "-" if tested is None else accuracy_of(tested, found.num_test),
            time,
            metric("params", found.params),
            metric("macs", found.macs),
            metric("size_bytes", found.bytes),
            archive_size(found),
            remark(record),
        )
    console.print(made)
    for why in dict.fromkeys(record.standing.not_measured for record in records):
        if why:
            console.print(f"not timed: {why}", style="yellow")


def archive_size(found: "Standing") -> str:
    """Returns what a network takes as an archive, marked where no step wrote it."""
    mark = "~" if found.archive_bytes is not None and not found.is_archived else ""
    return mark + metric("archive_bytes", found.archive_bytes)


def remark(record: "StepRecord") -> str:
    if record.skipped:
        return "left out"
    return "lost too much" if record.is_kept is False else ""
