"""``nas quantize``, ``nas sensitivity``: a run's float32 network at fewer bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.export import print_export
from nas.cli.style import console, metric, table
from nas.cli.terminal.options import (
    Batch,
    DataPath,
    Formats,
    MaxLatency,
    Measure,
    Pick,
    RunPath,
    names_in,
    within,
)
from search_spaces.graphs.errors import UserError

if TYPE_CHECKING:
    from nas.export.quantize import QuantizedTrial
    from nas.study.results import RunResults

PrecisionName = Annotated[str, typer.Option(help="Of the layers, e.g. w8a8, w4a4, bwn.")]
Method = Annotated[
    str, typer.Option(help="What tells the steps: min_max, percentile, kl (entropy) or l2.")
]
PerLayer = Annotated[
    bool, typer.Option("--per-layer", help="One step for a layer's weights, not one a channel.")
]
Images = Annotated[
    int,
    typer.Option(
        help="Training images to calibrate on, of all classes; labels are not learnt from.",
        callback=within(2),
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", help="Another precision for a layer, or those of a pattern: 'stem=fp32'."
    ),
]


def quantize_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    precision: PrecisionName = "w8a8",
    method: Method = "l2",
    per_layer: PerLayer = False,
    images: Images = 512,
    layer: Layers = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            help="Share of validation images, 0.01 for a point: the layers that lose most stay at "
            "a higher precision until it holds."
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to write, as nas export does.")
    ] = None,
    formats: Formats = "onnx,tvm,torch",
    batch: Batch = None,
    measure: Measure = True,
    data: DataPath = None,
) -> None:
    """Quantize the picked float32 network without training it, and write it as files."""
    from nas.export.data_place import with_data
    from nas.export.quantize import quantize_trial, ship_quantized
    from nas.problem.search_problem import load_setting
    from nas.study.results import load_results

    results = with_data(load_results(run), data)
    trial = results.pick(pick, max_latency_ms)
    setting = load_setting(results.config)
    with console.status(f"quantizing {trial.name}"):
        found = quantize_trial(
            results,
            trial,
            precision,
            method,
            per_channel=not per_layer,
            num_images=images,
            exceptions=exceptions_in(layer),
            max_drop=max_accuracy_drop,
            setting=setting,
        )
    print_quantized(results, trial.name, found, measure)
    if to is None:
        return
    with console.status(f"exporting {trial.name}") as status:
        report = ship_quantized(
            results,
            trial,
            found,
            to,
            names_in(formats),
            measure=measure,
            batch=batch,
            setting=setting,
            say=lambda step: status.update(f"exporting {trial.name}: {step}"),
        )
    console.print(f"{trial.name} at {precision} exported to {report.folder}", style="bold")
    print_export(report)


def print_quantized(
    results: "RunResults", name: str, found: "QuantizedTrial", measure: bool
) -> None:
    """Prints what a network is before and after."""
    from nas.export.quantize import latencies_of

    latencies, why_not = latencies_of(results, (found.float_model, found.model) if measure else ())
    times = [metric("latency_ms", latency.median_ms) for latency in latencies] or ["-", "-"]
    made = table(name, ">validation accuracy", ">latency", ">weights", ">weights file")
    for row, score, time, size, file in (
        ("fp32", found.accuracy_before, times[0], found.bytes_before, found.file_bytes_before),
        (found.recipe.precision, found.accuracy, times[1], found.bytes, found.file_bytes),
    ):
        sizes = (metric("weight_bytes", size), metric("file_bytes", file))
        made.add_row(row, metric("accuracy", score), time, *sizes)
    console.print(made)
    if why_not is not None:
        console.print(f"not timed: {why_not}", style="yellow")
    others = [
        f"{layer} {precision.name}"
        for layer, precision in found.precisions.items()
        if precision.name != found.recipe.precision
    ]
    if others:
        console.print(f"at another precision: {', '.join(others)}")
    console.print(f"calibrated on {found.num_images} training images of all classes")


def exceptions_in(texts: list[str] | None) -> dict[str, str]:
    """Returns precisions by layer, given as ``LAYER=PRECISION``.

    Raises:
        UserError: If one reads otherwise.
    """
    found = {}
    for text in texts or []:
        name, is_pair, precision = text.partition("=")
        if not (is_pair and name and precision):
            raise UserError(f"--layer must read LAYER=PRECISION, e.g. stem=fp32, got {text!r}")
        found[name] = precision
    return found


def sensitivity_command(
    run: RunPath,
    pick: Pick = "knee",
    max_latency_ms: MaxLatency = None,
    precision: PrecisionName = "w8a8",
    method: Method = "l2",
    per_layer: PerLayer = False,
    images: Images = 512,
    layer: Layers = None,
    data: DataPath = None,
) -> None:
    """Show what the picked network loses with one layer lowered, for each that quantize lowers."""
    from nas.export.data_place import with_data
    from nas.export.quantize import sensitivity_of_trial
    from nas.study.results import load_results

    results = with_data(load_results(run), data)
    trial = results.pick(pick, max_latency_ms)
    rows = sensitivity_of_trial(
        results,
        trial,
        precision,
        method,
        per_channel=not per_layer,
        num_images=images,
        exceptions=exceptions_in(layer),
    )
    made = table("layer alone", "precision", ">validation accuracy", ">lost", title=trial.name)
    for row in sorted(rows, key=lambda row: -row.drop):
        cells = (metric("accuracy", row.accuracy), f"{100 * row.drop:+.2f} points")
        made.add_row(row.layer, str(row.precision), *cells)
    console.print(made)
