"""``nas quantize`` and ``nas sensitivity``: a run's float32 network at fewer bits, untrained."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.export import MaxLatency, Pick, RunPath
from nas.cli.style import console, metric, table

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
    from nas.post_training import quantize_trial, save_quantized
    from nas.results import load_results

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
    from nas.post_training import sensitivity_of_trial
    from nas.results import load_results

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
