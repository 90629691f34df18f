"""Commands that look: ``front``, ``report``, ``networks``, ``show``, ``space``."""

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.terminal.options import ArchitecturePath, within
from nas.cli.terminal.style import console, metric, table
from nas.problem.answers import ScoreInterval
from nas.problem.formatting import in_words, interval_in_words, scaled
from nas.problem.metrics import METRICS
from nas.runs.evaluation import GUESSED, INHERITED

RunPath = Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")]


def front_command(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write all trials, also those off the front.")
    ] = None,
) -> None:
    """Show the Pareto front of a run."""
    from nas.runs.findings.front import front_json
    from nas.study.results import load_results

    results = load_results(run)
    if as_json:
        typer.echo(json.dumps(front_json(results), indent=1))
    else:
        print_front(results)
    if csv_file is not None:
        from nas.runs.findings.trial_table import write_csv

        with csv_file.open("w", newline="", encoding="utf-8") as file:
            count = write_csv(results, file)
        if not as_json:
            console.print(f"{count} trials: {csv_file}")


def print_front(results: "RunResults") -> None:
    from nas.runs.findings.front import front_json

    data = front_json(results)
    names = list(data["objectives"])
    qualities = [f"test_{name}" for name in names if METRICS[name].is_quality]
    tested = [
        name
        for name in dict.fromkeys(("test_accuracy", *qualities))
        if any(name in test_values(row) for row in data["front"])
    ]
    extra = [n for n in ("macs", "params") if n not in names]
    columns = [*names, *tested, *extra]
    heads = (f"?>{name}" if name in extra else f">{name}" for name in columns)
    made = table("trial", *heads, "pick", title=f"front of {results.run.path}")
    for row in data["front"]:
        values = row["values"] | test_values(row)
        intervals = dict(row.get("intervals", {})) | {"test_accuracy": row.get("test_interval")}
        guessed = {
            "latency_ms": row.get("latency_source") == "predicted",
            "archive_bytes": row.get("archive_source") == "estimated",
        }
        marks = {name: GUESSED for name, holds in guessed.items() if holds}
        if "inherited" in row:
            marks |= {name: INHERITED for name in names if METRICS[name].is_quality}
        texts = {name: marks.get(name, "") + metric(name, values.get(name)) for name in columns}
        cells = (with_interval(text, intervals.get(name)) for name, text in texts.items())
        made.add_row(row["name"], *cells, ", ".join(row["picks"]))
    console.print(made)
    if not data["front"]:
        console.print(results.why_nothing)
    if "retrained" in data:
        print_retrained(results, columns)


def print_retrained(results: "RunResults", columns: list[str]) -> None:
    """Prints the front of what the search's front is when it is trained from nothing."""
    from nas.runs.findings.retrained_front import not_retrained, read_retrained_front

    networks, names = read_retrained_front(results.run), {t.hash: t.name for t in results.trials}
    tested = [name for name in columns if name.startswith("test_")] or ["test_accuracy"]
    shown = [*(name for name in columns if name not in tested), *tested]
    heads = (f"?>{name}" if name in ("macs", "params") else f">{name}" for name in shown)
    epochs = ", ".join(str(n) for n in sorted({each.epochs for each in networks}) if n)
    title = f"final front: retrained from nothing for {epochs or 'no'} epochs"
    made = table("trial", *heads, title=title)
    for each in networks:
        if not each.on_front:
            continue
        values = {**each.values, **{f"test_{n}": value for n, value in each.test_values.items()}}
        cells = (metric(name, values.get(name)) for name in shown)
        made.add_row(names.get(each.hash, each.hash), *cells)
    console.print(made)
    beaten = [names.get(each.hash, each.hash) for each in networks if not each.on_front]
    if beaten:
        console.print(f"no longer on the front: {', '.join(beaten)}")
    if left := not_retrained(results, networks):
        said = ", ".join(trial.name for trial in left)
        console.print(f"on the search's front, and not retrained: {said}", style="yellow")


def test_values(row: dict[str, Any]) -> dict[str, float]:
    """Returns what a row of ``front.json`` tells of the test images, by the names of columns."""
    known = {f"test_{name}": value for name, value in row.get("test_values", {}).items()}
    return known | ({"test_accuracy": row["test_accuracy"]} if "test_accuracy" in row else {})


def with_interval(text: str, interval: list[float] | None) -> str:
    return text if interval is None else f"{text} ({interval_in_words(ScoreInterval(*interval))})"


def report_command(run: RunPath) -> None:
    """Write the HTML report of a run anew."""
    from nas.compression.running.folder import CompressionFolder, has_compression

    if has_compression(run):
        from nas.compression.report.page import write_compression_report

        console.print(f"report: {write_compression_report(CompressionFolder(run))}")
        return
    from nas.report.page import write_report
    from nas.study.results import load_results

    console.print(f"report: {write_report(load_results(run))}")


def networks_command(
    resolution: Annotated[
        int | None, typer.Option(help="Input height and width.", callback=within(1))
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write each network into this folder as a file.")
    ] = None,
) -> None:
    """List the published networks with their costs."""
    from search_spaces.graphs.cost import network_cost
    from search_spaces.networks import NETWORKS
    from search_spaces.space.architecture import save_architecture
    from search_spaces.space.space import Architecture

    made = table("network", "input", ">params", ">MACs", ">bytes moved")
    for name, network in NETWORKS.items():
        try:
            graph = network() if resolution is None else network(resolution=resolution)
        except ValueError as error:
            made.add_row(name, f"{resolution}: {error}")
            continue
        cost = network_cost(graph)
        cells = (scaled(cost.params), scaled(cost.macs), scaled(cost.memory_access_bytes))
        made.add_row(name, "x".join(map(str, graph.input_shape)), *cells)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            save_architecture(Architecture(name, (), graph), save / f"{name}.json")
    console.print(made)


if TYPE_CHECKING:
    from latency_models.measurement.layer_table import LayerRow, LayerTimes
    from nas.study.results import RunResults
    from search_spaces.graphs.graph import Graph

HEAD = ("layer", "operator", "precision", "?output", "?>MACs", "?>weights", "?>bytes moved")
TIMED = ("kernel", ">ms", ">fp32 ms", "")


def show_command(
    architecture: ArchitecturePath,
    device: Annotated[
        str, typer.Option(help="Device whose kernels are timed; see nas device list.")
    ] = "host",
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Time each kernel on the device.")
    ] = True,
) -> None:
    """Show an architecture layer by layer: precision, kernel, ms, bytes, MACs."""
    from latency_models.measurement.layer_table import layer_rows
    from nas.models.given.reading import read_architecture
    from search_spaces.graphs.cost import network_cost
    from search_spaces.space.architecture import graph_hash

    loaded = read_architecture(architecture)
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
        console.print(about_times(rows, device))


def timed_layers(graph: "Graph", device: str) -> "LayerTimes | None":
    """Returns what the kernels take on a device; None, with the reason said, where they cannot.

    Raises:
        UserError: If the device is unknown.
    """
    from latency_models.devices.device import get_device
    from latency_models.devices.latency import MeasurementError
    from latency_models.measurement.measurer import Measurer
    from nas.runs.findings.kernel_times import time_layers
    from search_spaces.graphs.errors import UnsupportedOperatorError

    try:
        with console.status("compiling and timing"), Measurer(get_device(device)) as measurer:
            return time_layers(graph, measurer)
    except (MeasurementError, UnsupportedOperatorError) as error:
        console.print(f"not timed on {device}: {error}", style="yellow")
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


if TYPE_CHECKING:
    from search_spaces.space.staged import StagedSpace

space_app = typer.Typer(help="Look at a search space.", no_args_is_help=True)
ConfigPath = Annotated[Path, typer.Argument(help="Run file (YAML).")]


def read_space(config: Path) -> "StagedSpace":
    from nas.evaluation.drawing import read_space as read

    return read(config, None, None)


@space_app.command("show")
def show_space(config: ConfigPath) -> None:
    """Show what a space contains and how large it is."""
    from search_spaces.space.staged import count_architectures, describe_space

    space = read_space(config)
    console.print(describe_space(space))
    console.print(f"{in_words(count_architectures(space))} architectures")


@space_app.command("sample")
def sample_space(
    config: ConfigPath,
    count: Annotated[int, typer.Option(help="How many.", callback=within(1))] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.", callback=within(0))] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write each one into this folder as a file.")
    ] = None,
) -> None:
    """Draw random architectures of a space."""
    from search_spaces.graphs.cost import network_cost
    from search_spaces.space.architecture import graph_hash, save_architecture
    from search_spaces.space.space import describe_genes, sample

    space, rng = read_space(config), Random(seed)
    made = table("hash", ">macs", ">params", "genes")
    for _ in range(count):
        architecture = sample(space, rng)
        cost, key = network_cost(architecture.graph), graph_hash(architecture.graph)
        genes = describe_genes(architecture.genes)
        made.add_row(key, metric("macs", cost.macs), scaled(cost.params), genes)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            save_architecture(architecture, save / f"{key}.json")
    console.print(made)
