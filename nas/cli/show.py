"""``nas show``: a network layer by layer, and whether its low-bit layers pay on a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.style import console, metric, table
from nas.numbers import scaled

if TYPE_CHECKING:
    from nas.tables import LayerRow, LayerTimes
    from search_spaces.graph import Graph

HEAD = ("layer", "operator", "precision", "output", ">MACs", ">weights", ">bytes moved")
TIMED = ("kernel", ">ms", ">fp32 ms", "")


def show_command(
    architecture: Annotated[Path, typer.Argument(help="Architecture file (JSON).")],
    device: Annotated[
        str, typer.Option(help="Device whose kernels are timed; see nas device list.")
    ] = "host",
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Time each kernel on the device.")
    ] = True,
) -> None:
    """Show an architecture layer by layer: precision, kernel, ms, bytes, MACs."""
    from nas.tables import layer_rows
    from search_spaces.architecture import graph_hash, load_architecture
    from search_spaces.cost import network_cost

    loaded = load_architecture(architecture)
    measured = timed_layers(loaded.graph, device) if times else None
    rows, cost = layer_rows(loaded.graph, measured), network_cost(loaded.graph)
    made = table(*HEAD, *(TIMED if measured else ()))
    for row in rows:
        cells = (*cost_cells(row), *(time_cells(row) if measured else ()))
        made.add_row(*cells, style="yellow" if row.is_no_faster else None)
    totals = (scaled(cost.macs), bytes_(cost.weight_bytes), bytes_(cost.memory_access_bytes))
    made.add_row("total", "", "", "", *totals, *total_times(measured), style="bold")
    console.print(f"{loaded.space} {graph_hash(loaded.graph)}")
    console.print(made)
    console.print(
        f"{scaled(cost.params)} parameters, peak activation memory "
        f"{metric('peak_bytes', cost.peak_activation_bytes)}"
    )
    if measured:
        console.print(about_times(rows, device), highlight=False)


def timed_layers(graph: "Graph", device: str) -> "LayerTimes | None":
    """Returns what the kernels take on a device; None, with the reason said, where they cannot.

    Raises:
        UserError: If the device is unknown.
    """
    from latency_models.device import get_device
    from latency_models.latency import MeasurementError
    from latency_models.measure import Measurer
    from nas.kernel_times import time_layers
    from search_spaces.errors import UnsupportedOperatorError

    try:
        with console.status("compiling and timing"), Measurer(get_device(device)) as measurer:
            return time_layers(graph, measurer)
    except (MeasurementError, UnsupportedOperatorError) as error:
        console.print(f"not timed on {device}: {error}", style="yellow", highlight=False)
        return None


def cost_cells(row: "LayerRow") -> tuple[str, ...]:
    operator, plus, fused = row.operator.partition(" + ")
    operator = f"{operator} {row.window}".rstrip() + plus + fused
    shape = "x".join(map(str, row.shape))
    numbers = (scaled(row.macs), bytes_(row.weight_bytes), bytes_(row.memory_access_bytes))
    return (row.name, operator, row.precision, shape, *numbers)


def time_cells(row: "LayerRow") -> tuple[str, ...]:
    mark = "no faster" if row.is_no_faster else ""
    return row.instruction, aligned(row.ms), aligned(row.fp32_ms), mark


def total_times(measured: "LayerTimes | None") -> tuple[str, ...]:
    if measured is None:
        return ()
    fp32_ms = measured.fp32_ms
    whole = None if fp32_ms is None else sum(fp32_ms.values())
    return "", aligned(sum(measured.ms.values())), aligned(whole), ""


def aligned(ms: float | None) -> str:
    """Returns milliseconds to 10 ns, so that a column of them lines up."""
    return "-" if ms is None else f"{ms:.5f}"


def about_times(rows: "tuple[LayerRow, ...]", device: str) -> str:
    """Returns what the times are, and how many layers their low precision does not speed up."""
    text = f"each kernel was timed alone on {device}"
    coded = [row for row in rows if row.precision not in ("", "fp32")]
    if not coded:
        return text
    slow = sum(row.is_no_faster for row in coded)
    return f"{text}; {slow} of {len(coded)} low-bit layers are no faster than in float32"


def bytes_(count: int) -> str:
    return scaled(count, "B")
