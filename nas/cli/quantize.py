"""``nas quantize``, ``nas sensitivity``: a float32 network of a run or a model at fewer bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.export import loaded, print_export
from nas.cli.terminal.options import (
    Batch,
    Coder,
    Formats,
    ImagesPath,
    MaxLatency,
    Measure,
    RunPick,
    SubjectPath,
    TimedOn,
    names_in,
    within,
)
from nas.cli.terminal.style import accuracy_of, console, metric, table
from search_spaces.graphs.errors import UserError

if TYPE_CHECKING:
    from nas.export.network import TrainedNetwork
    from nas.export.quantize import QuantizedNetwork
    from nas.problem.search_problem import Examples

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
    path: SubjectPath,
    pick: RunPick = None,
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
    entropy: Coder = "ans",
    measure: Measure = True,
    data: ImagesPath = None,
    device: TimedOn = None,
) -> None:
    """Quantize a float32 network without training it, and write it as files."""
    from nas.export.quantize import QuantizationRecipe, quantize, quantized_network
    from nas.export.subject import Asked
    from nas.export.write import ship

    recipe = QuantizationRecipe(
        precision, method, not per_layer, images, exceptions_in(layer), max_accuracy_drop
    )
    network, examples = loaded(Asked(path, pick, max_latency_ms, data, device))
    examples = needed(examples, path)
    with console.status(f"quantizing {network.name}"):
        found = quantize(network, recipe, examples)
    print_quantized(network, found, measure, len(examples.tensors.validation))
    if to is None:
        return
    with console.status(f"exporting {network.name}") as status:
        report = ship(
            quantized_network(network, found),
            to,
            names_in(formats),
            examples,
            measure=measure,
            batch=batch,
            entropy=entropy,
            say=lambda step: status.update(f"exporting {network.name}: {step}"),
        )
    console.print(f"{network.name} at {precision} exported to {report.folder}", style="bold")
    print_export(report)


def needed(examples: "Examples | None", path: Path) -> "Examples":
    """Raises UserError if there are no images to calibrate on."""
    if examples is None:
        raise UserError(
            f"{path} is a model without images to calibrate on; name a run, or a YAML file with a "
            "section data, with --data"
        )
    return examples


def print_quantized(
    network: "TrainedNetwork", found: "QuantizedNetwork", measure: bool, num_validation: int
) -> None:
    """Prints what a network is before and after; accuracies are of so many images."""
    from nas.export.quantize import latencies_of

    models = (found.float_model, found.model) if measure else ()
    latencies, why_not = latencies_of(network.latency, models)
    times = [metric("latency_ms", latency.median_ms) for latency in latencies] or ["-", "-"]
    made = table(network.name, ">validation accuracy", ">latency", ">weights", ">weights file")
    for row, score, time, size, file in (
        ("fp32", found.accuracy_before, times[0], found.bytes_before, found.file_bytes_before),
        (found.recipe.precision, found.accuracy, times[1], found.bytes, found.file_bytes),
    ):
        sizes = (metric("weight_bytes", size), metric("file_bytes", file))
        made.add_row(row, accuracy_of(score, num_validation), time, *sizes)
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
    path: SubjectPath,
    pick: RunPick = None,
    max_latency_ms: MaxLatency = None,
    precision: PrecisionName = "w8a8",
    method: Method = "l2",
    per_layer: PerLayer = False,
    images: Images = 512,
    layer: Layers = None,
    data: ImagesPath = None,
) -> None:
    """Show what a network loses with one layer lowered, for each that quantize lowers."""
    from nas.export.quantize import QuantizationRecipe, sensitivity
    from nas.export.subject import Asked

    recipe = QuantizationRecipe(precision, method, not per_layer, images, exceptions_in(layer))
    network, examples = loaded(Asked(path, pick, max_latency_ms, data))
    examples = needed(examples, path)
    rows = sensitivity(network, recipe, examples)
    images = len(examples.tensors.validation)
    made = table("layer alone", "precision", ">validation accuracy", ">lost", title=network.name)
    for row in sorted(rows, key=lambda row: -row.drop):
        cells = (accuracy_of(row.accuracy, images), f"{100 * row.drop:+.2f} points")
        made.add_row(row.layer, str(row.precision), *cells)
    console.print(made)
