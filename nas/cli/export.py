"""``nas export``, ``nas retrain``: from a run or a model to files that run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.options import (
    Batch,
    Coder,
    DataPath,
    Formats,
    ImagesPath,
    MaxLatency,
    Measure,
    Pick,
    RunPath,
    RunPick,
    SubjectPath,
    TimedOn,
    names_in,
    within,
)
from nas.cli.terminal.style import accuracy_of, console, metric, table
from nas.problem.formatting import duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from nas.export.network import TrainedNetwork
    from nas.export.subject import Asked
    from nas.export.write import ExportReport
    from nas.problem.search_problem import Examples
    from nas.study.results import RunResults, TrialResult
    from nas.training.loop import EpochReport


def export_command(
    path: SubjectPath,
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    pick: RunPick = None,
    max_latency_ms: MaxLatency = None,
    formats: Formats = "onnx,tvm,torch",
    batch: Batch = None,
    entropy: Coder = "ans",
    measure: Measure = True,
    data: ImagesPath = None,
    device: TimedOn = None,
    retrained: Annotated[
        bool, typer.Option("--retrained", help="Take the weights of nas retrain.")
    ] = False,
) -> None:
    """Write the picked network, or a model, as files, each checked against the network itself."""
    from nas.export.formats import get_formats
    from nas.export.subject import Asked
    from nas.export.write import check_place, ship

    get_formats(names_in(formats))
    check_place(to)  # before what takes longer
    network, examples = loaded(Asked(path, pick, max_latency_ms, data, device, retrained))
    with console.status(f"exporting {network.name}") as status:
        report = ship(
            network,
            to,
            names_in(formats),
            examples,
            measure=measure,
            batch=batch,
            entropy=entropy,
            say=lambda step: status.update(f"exporting {network.name}: {step}"),
        )
    how = f" ({pick or 'knee'})" if network.run else ""
    console.print(f"{network.name}{how} exported to {report.folder}", style="bold")
    print_export(report)
    if report.searched_latency is not None:
        console.print(f"the search saw {metric('latency_ms', report.searched_latency.median_ms)}")


def loaded(asked: "Asked") -> "tuple[TrainedNetwork, Examples | None]":
    """Returns what is asked for, once what is to be known of its data is said."""
    from nas.export.subject import subject_of

    with console.status(f"reading {asked.path}"):
        network, examples = subject_of(asked)
    if network.run is None and examples is not None:  # a run's search has said it
        for note in examples.notes:
            console.print(note, style="yellow")
    return network, examples


def print_export(report: "ExportReport") -> None:
    """Prints what each file is, and what is said about it."""
    made = table("file", ">bytes", ">test accuracy", ">latency now", ">largest difference")
    for name, difference in report.checks.parity.differences.items():
        latency = report.latencies.get(name)
        accuracy = "-"
        if report.checks.is_tested:
            num_test = report.checks.num_test
            accuracy = accuracy_of(report.checks.file_correct[name] / num_test, num_test)
        time = "-" if latency is None else metric("latency_ms", latency.median_ms)
        made.add_row(name, f"{report.sizes[name]:,}", accuracy, time, f"{difference:.1e}")
    console.print(made)
    if not report.checks.is_tested:
        console.print(
            f"checked on {report.checks.parity.num_images} random images; its accuracy is not "
            "known without --data",
            style="yellow",
        )
    for name, reason in report.exact.items():
        console.print(
            f"{name} has its exact form, which is slower in layers of 8 bits; of the faster one: "
            f"{reason}",
            style="yellow",
        )
    for layer in report.sparse:
        console.print(f"model.so, {layer.name}: {layer}", style="dim")
    for name, reason in report.not_measured.items():
        console.print(f"{name}: not timed: {reason}", style="yellow")


def retrain_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    front: Annotated[
        bool,
        typer.Option("--front", help="Every network of the front; what is trained is kept."),
    ] = False,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="With --front: the run's published networks too."),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="By default five times those of the search; with --front as many.",
            callback=within(1),
        ),
    ] = None,
    data: DataPath = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Model folder or export whose outputs are learnt from.")
    ] = None,
    with_validation: Annotated[
        bool, typer.Option("--with-validation", help="Train on the validation images too.")
    ] = False,
) -> None:
    """Train the picked network, or the whole front, from nothing; score it on the test images."""
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from nas.cli.terminal.progress import progress_bar
    from nas.export.retrain import retrain
    from nas.export.subject import with_data
    from nas.runs.certainty import num_images
    from nas.study.results import load_results
    from search_spaces.graphs.errors import UserError

    results = with_data(load_results(run), data)
    if front:
        if with_validation or max_latency_ms is not None:
            raise UserError(
                "--front compares its networks on the validation images, all of them: leave out "
                "--with-validation and --max-latency-ms"
            )
        retrain_whole_front(results, epochs, teacher, baselines=baselines)
        return
    if baselines:
        raise UserError("--baselines go with --front: the front and they are trained alike")
    trial = results.pick(pick, max_latency_ms)
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(f"training {trial.name}", total=None)

        def show(epoch: "EpochReport") -> None:
            what = f"training {trial.name}, {metric('accuracy', epoch.validation_accuracy)}"
            bar.update(task, total=epoch.epochs, completed=epoch.epoch, description=what)

        result = retrain(
            results,
            trial,
            epochs,
            teacher=teacher,
            with_validation=with_validation,
            on_epoch=show,
            say=bar.console.print,
        )
    console.print(f"{trial.name}: {result.epochs} epochs in {duration(result.seconds)}")
    for split, share in (
        ("validation", result.validation_accuracy),
        ("test", result.test_accuracy),
    ):
        if share is not None:
            images = num_images(results.run, split)
            console.print(f"{split} accuracy {accuracy_of(share, images)}")
    for aim in results.metrics:
        if aim.is_quality and aim.name != "accuracy":
            console.print(f"test {aim.title} {metric(aim.name, result.test_values[aim.name])}")
    console.print(f"weights: {result.weights_file}; export them with --retrained")


def retrain_whole_front(
    results: "RunResults", epochs: int | None, teacher: Path | None, *, baselines: bool
) -> None:
    """Trains every network of the front from nothing behind a progress bar; prints their front."""
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from nas.cli.inspect import print_front
    from nas.cli.terminal.progress import progress_bar
    from nas.export.retrain_front import retrain_front
    from nas.report.page import write_report

    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        watcher = FrontBar(bar, epochs or results.config.training.epochs)
        retrain_front(
            results,
            epochs,
            baselines=baselines,
            teacher=teacher,
            watcher=watcher,
            say=bar.console.print,
        )
    print_front(results)
    console.print(f"report: {write_report(results)}")


class FrontBar:
    """Shows how many epochs of a front's retraining are done.

    Args:
        epochs: Of each network.
    """

    def __init__(self, bar: "Progress", epochs: int) -> None:
        self.bar = bar
        self.epochs = epochs
        self.task = bar.add_task("training the front", total=None)
        self.done = 0
        self.what = ""

    def begin(self, trial: "TrialResult", number: int, of: int) -> None:
        self.done = (number - 1) * self.epochs
        self.what = f"training {trial.name}, {number} of {of}"
        total = of * self.epochs
        self.bar.update(self.task, total=total, completed=self.done, description=self.what)

    def epoch(self, report: "EpochReport") -> None:
        accuracy = metric("accuracy", report.validation_accuracy)
        what = f"{self.what}, {accuracy}"
        self.bar.update(self.task, completed=self.done + report.epoch, description=what)
