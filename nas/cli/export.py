"""``nas export``, ``retrain``, ``quantize``, ``sensitivity``: from a run to files that run."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.style import console, metric, table
from nas.problem.formatting import duration

RunPath = Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")]
Pick = Annotated[
    str,
    typer.Option(
        help="best (first objective), knee, fastest (latency, else MACs), or a trial's number."
    ),
]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency-ms", help="Leave out what is slower.")
]


def export_command(
    run: RunPath,
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    formats: Annotated[str, typer.Option(help="Files to write.")] = "onnx,tvm,torch",
    retrained: Annotated[
        bool, typer.Option("--retrained", help="Take the weights of nas retrain.")
    ] = False,
) -> None:
    """Write the picked network as files, each checked against what was searched."""
    from nas.export.write import export_network
    from nas.study.results import load_results

    results = load_results(run)
    trial = results.pick(pick, max_latency_ms)
    names = tuple(name.strip() for name in formats.split(",") if name.strip())
    with console.status(f"exporting {trial.name}") as status:
        report = export_network(
            results,
            trial,
            to,
            names,
            retrained=retrained,
            say=lambda step: status.update(f"exporting {trial.name}: {step}"),
        )
    console.print(f"{trial.name} ({pick}) exported to {report.folder}", style="bold")
    made = table("file", ">test accuracy", ">latency now", ">largest difference")
    for name, difference in report.checks.parity.differences.items():
        latency = report.latencies.get(name)
        accuracy = metric("accuracy", report.checks.file_correct[name] / report.checks.num_test)
        time = "-" if latency is None else metric("latency_ms", latency.median_ms)
        made.add_row(name, accuracy, time, f"{difference:.1e}")
    console.print(made)
    for name, reason in report.not_measured.items():
        console.print(f"{name}: not timed: {reason}", style="yellow")
    if report.searched_latency is not None:
        console.print(f"the search saw {metric('latency_ms', report.searched_latency.median_ms)}")


def retrain_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    epochs: Annotated[
        int | None, typer.Option(help="Five times those of the search by default.")
    ] = None,
    with_validation: Annotated[
        bool, typer.Option("--with-validation", help="Train on the validation images too.")
    ] = False,
) -> None:
    """Train the picked network in full and score it on the test images."""
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from nas.cli.terminal.progress import progress_bar
    from nas.export.retrain import retrain
    from nas.study.results import load_results
    from nas.training.loop import EpochReport

    results = load_results(run)
    trial = results.pick(pick, max_latency_ms)
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(f"training {trial.name}", total=None)

        def show(epoch: EpochReport) -> None:
            what = f"training {trial.name}, {metric('accuracy', epoch.validation_accuracy)}"
            bar.update(task, total=epoch.epochs, completed=epoch.epoch, description=what)

        result = retrain(results, trial, epochs, with_validation=with_validation, on_epoch=show)
    console.print(f"{trial.name}: {result.epochs} epochs in {duration(result.seconds)}")
    if result.validation_accuracy is not None:
        console.print(f"validation accuracy {metric('accuracy', result.validation_accuracy)}")
    console.print(f"test accuracy {metric('accuracy', result.test_accuracy)}")
    console.print(f"weights: {result.weights_file}; export them with --retrained")


PrecisionName = Annotated[str, typer.Option(help="Of the layers, e.g. w8a8, w4a4, bwn.")]
Method = Annotated[
    str, typer.Option(help="What tells the steps: min_max, percentile, kl (entropy) or l2.")
]
PerLayer = Annotated[
    bool, typer.Option("--per-layer", help="One step for a layer's weights, not one a channel.")
]
Images = Annotated[int, typer.Option(help="Training images to calibrate on; labels are not read.")]


def quantize_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    precision: PrecisionName = "w8a8",
    method: Method = "l2",
    per_layer: PerLayer = False,
    images: Images = 512,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for the architecture and its weights.")
    ] = None,
) -> None:
    """Quantize the picked float32 network without training it."""
    from nas.export.quantize import quantize_trial, save_quantized
    from nas.study.results import load_results

    results = load_results(run)
    trial = results.pick(pick, max_latency_ms)
    found = quantize_trial(
        results, trial, precision, method, per_channel=not per_layer, num_images=images
    )
    made = table(trial.name, ">validation accuracy", ">weights")
    for name, score, size in (
        ("fp32", found.accuracy_before, found.bytes_before),
        (precision, found.accuracy, found.bytes),
    ):
        made.add_row(name, metric("accuracy", score), metric("weight_bytes", size))
    console.print(made)
    if to is not None:
        architecture, weights = save_quantized(found, to)
        console.print(f"architecture: {architecture}")
        console.print(f"weights: {weights}")


def sensitivity_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    precision: PrecisionName = "w8a8",
    method: Method = "l2",
    per_layer: PerLayer = False,
    images: Images = 512,
) -> None:
    """Show what the picked float32 network loses with one layer lowered, for each layer."""
    from nas.export.quantize import sensitivity_of_trial
    from nas.study.results import load_results

    results = load_results(run)
    trial = results.pick(pick, max_latency_ms)
    rows = sensitivity_of_trial(
        results, trial, precision, method, per_channel=not per_layer, num_images=images
    )
    made = table("layer alone", "precision", ">validation accuracy", ">lost", title=trial.name)
    for row in sorted(rows, key=lambda row: -row.drop):
        cells = (metric("accuracy", row.accuracy), f"{100 * row.drop:+.2f} points")
        made.add_row(row.layer, str(row.precision), *cells)
    console.print(made)
