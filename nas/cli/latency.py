"""``nas latency``: how long a network takes on a device."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from nas.cli.style import console, metric, table
from nas.numbers import scaled

latency_app = typer.Typer(help="Measure latency.", no_args_is_help=True)


@latency_app.callback()
def group() -> None:
    """Keeps ``measure`` a command of its own while it is the only one."""


@latency_app.command("measure")
def measure_command(
    architecture: Annotated[Path, typer.Argument(help="Architecture file (JSON).")],
    device: Annotated[str, typer.Option(help="Device name; see nas device list.")] = "host",
    runtime: Annotated[
        Literal["tvm", "onnxruntime"] | None,
        typer.Option(help="What runs the network; the device's own by default."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also time each kernel.")] = False,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Time several tiles a kernel and keep the best.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a network: compiled for the device and timed there."""
    from latency_models.device import get_device
    from latency_models.latency import to_json
    from latency_models.measure import Measurer
    from nas.tables import LayerTimes, layer_rows, times_by_row
    from search_spaces.architecture import load_architecture

    graph = load_architecture(architecture).graph
    measurer = Measurer(get_device(device), runtime, tuned=tuned)
    with console.status("compiling and timing"), measurer:
        latency = measurer.latency(graph)
        kernels = measurer.kernel_latencies(graph) if layers else ()
    if as_json:
        times = {"kernels_ms": times_by_row(graph, kernels)} if layers else {}
        typer.echo(json.dumps(to_json(latency) | times))
        return
    if layers:
        made = table("layer", "operator", "output", ">MACs", ">ms", ">share")
        for row in layer_rows(graph, LayerTimes(times_by_row(graph, kernels))):
            shape = "x".join(map(str, row.shape))
            ms = "-" if row.ms is None else f"{row.ms:.4f}"
            share = "-" if row.share is None else f"{row.share:.1%}"
            made.add_row(row.name, row.operator, shape, scaled(row.macs), ms, share)
        console.print(made)
    console.print(
        f"{metric('latency_ms', latency.median_ms)} (spread "
        f"{metric('spread_ms', latency.spread_ms)}) on {device}"
    )
    if (how := latency.conditions) is not None:
        console.print(
            f"{how.runtime} {how.runtime_version}, {how.target or how.cpu}, {how.threads} thread, "
            f"{how.runs} runs, {how.cache} cache, reference kernel at {how.drift:.2f} of its best",
            highlight=False,
        )
