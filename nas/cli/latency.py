"""``nas latency``: how long a network takes on a device."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.device import Drift
from nas.cli.models.serve import serve_command
from nas.cli.terminal.options import ArchitecturePath
from nas.cli.terminal.style import console, metric, table
from nas.problem.formatting import scaled

if TYPE_CHECKING:
    from latency_models.devices.latency import Latency
    from latency_models.prediction.predictor import Explanation
    from search_spaces.graphs.errors import UserError

latency_app = typer.Typer(
    help="Measure and predict latency; serve predictions.", no_args_is_help=True
)
Extrapolate = Annotated[
    bool,
    typer.Option(
        "--extrapolate",
        help="Answer also where nothing like a kernel was measured; the interval says so.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@latency_app.command("measure")
def measure_command(
    architecture: ArchitecturePath,
    device: Annotated[str, typer.Option(help="Device name; see nas device list.")] = "host",
    runtime: Annotated[
        Literal["tvm", "onnxruntime"] | None,
        typer.Option(help="What runs the network; the device's own by default."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also time each kernel.")] = False,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Time several tiles a kernel and keep the best.")
    ] = False,
    max_drift: Drift = None,
    as_json: AsJson = False,
) -> None:
    """Measure a network: compiled for the device and timed there."""
    from latency_models.devices.device import get_device
    from latency_models.devices.latency import to_json
    from latency_models.measurement.layer_table import LayerTimes, layer_rows, times_by_row
    from latency_models.measurement.measurer import Measurer
    from nas.models.given.reading import read_architecture

    graph = read_architecture(architecture).graph
    measurer = Measurer(get_device(device, max_drift), runtime, tuned=tuned)
    with console.status("compiling and timing"), measurer:
        latency = measurer.latency(graph)
        kernels = measurer.kernel_latencies(graph) if layers else ()
    if as_json:
        times = {"kernels_ms": times_by_row(graph, kernels)} if layers else {}
        typer.echo(json.dumps(to_json(latency) | times))
        return
    if layers:
        made = table("layer", "operator", "?output", "?>MACs", ">ms", ">share")
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
            f"{how.runs} runs, {how.cache} cache, reference kernel at {how.drift:.2f} of its best"
        )


@latency_app.command("predict")
def predict_command(
    architectures: Annotated[
        list[Path],
        typer.Argument(help="Architecture files (JSON), folders of them, models, exports."),
    ],
    device: Annotated[str, typer.Option(help="Name of a profiled device.")] = "host",
    explain: Annotated[
        bool, typer.Option("--explain", help="Also tell each kernel's part.")
    ] = False,
    extrapolate: Extrapolate = False,
    as_json: AsJson = False,
) -> None:
    """Predict latency on a profiled device; nothing is compiled or timed."""
    from latency_models.transfer.predictions import profiled_model
    from nas.models.given.reading import read_architecture
    from search_spaces.graphs.errors import UserError

    model = profiled_model(device)
    ask = model.explain if explain else model.latency
    answers: dict[Path, Latency | Explanation | UserError] = {}
    paths = files_of(architectures)
    for path in paths:
        try:
            answers[path] = ask(read_architecture(path).graph, extrapolate=extrapolate)
        except UserError as error:
            if len(paths) == 1:
                raise
            answers[path] = error
    if as_json:
        rows = [
            {"architecture": str(path), **answer_json(device, answer)}
            for path, answer in answers.items()
        ]
        typer.echo(json.dumps(rows[0] if len(paths) == 1 else rows))
    else:
        print_predictions(device, answers)
    if any(isinstance(answer, UserError) for answer in answers.values()):
        raise typer.Exit(2)


@latency_app.command("compare")
def compare_command(
    architecture: ArchitecturePath,
    devices: Annotated[
        str, typer.Option(help="Profiled devices, by commas; all of them by default.")
    ] = "",
    extrapolate: Extrapolate = False,
    as_json: AsJson = False,
) -> None:
    """Compare the predicted latency of a network on several devices."""
    from latency_models.prediction.model_file import profiled_devices
    from latency_models.transfer.predictions import NO_DEVICE, profiled_model
    from nas.models.given.reading import read_architecture
    from search_spaces.graphs.errors import UserError

    graph = read_architecture(architecture).graph
    names = [name.strip() for name in devices.split(",") if name.strip()] or profiled_devices()
    if not names:
        raise UserError(NO_DEVICE)
    answers: dict[str, Latency | UserError] = {}
    for name in dict.fromkeys(names):
        try:
            answers[name] = profiled_model(name).latency(graph, extrapolate=extrapolate)
        except UserError as error:
            answers[name] = error
    if as_json:
        rows = [{"device": name} | answer_json(name, answer) for name, answer in answers.items()]
        typer.echo(json.dumps(rows))
    else:
        print_comparison(answers)
    if all(isinstance(answer, UserError) for answer in answers.values()):
        raise typer.Exit(2)


latency_app.command("serve")(serve_command)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Returns the files, model folders and exports, and of other folders the JSON files in them.

    Raises:
        UserError: If a folder has none.
    """
    from nas.models.metadata import is_model_folder
    from search_spaces.graphs.errors import UserError

    found: list[Path] = []
    for path in paths:
        is_one = not path.is_dir() or is_model_folder(path)
        inside = [path] if is_one else sorted(path.glob("*.json"))
        if not inside:
            raise UserError(f"folder {path} has no architecture file (*.json)")
        found += inside
    return list(dict.fromkeys(found))


def answer_json(device: str, answer: "Latency | Explanation | UserError") -> dict[str, object]:
    from latency_models.transfer.predictions import prediction_json
    from search_spaces.graphs.errors import UserError

    if isinstance(answer, UserError):
        return {"error": str(answer)}
    return prediction_json(device, answer)


def print_predictions(
    device: str, answers: "Mapping[Path, Latency | Explanation | UserError]"
) -> None:
    """Prints each network's kernels where they are explained, then one line or row a network."""
    from latency_models.devices.latency import Latency
    from latency_models.prediction.predictor import Explanation

    found: dict[str, Latency | UserError] = {}
    for path, answer in answers.items():
        if isinstance(answer, Explanation):
            print_kernels(answer, title=str(path) if len(answers) > 1 else None)
            found[str(path)] = answer.latency
        else:
            found[str(path)] = answer
    if len(found) > 1:
        made = table("architecture", ">latency", ">interval", "")
        for name, row in found.items():
            made.add_row(name, *latency_cells(row), reason(row))
        console.print(made)
        return
    (only,) = found.values()
    assert isinstance(only, Latency)
    said, interval = latency_cells(only)
    within = f" ({only.interval.probability:.0%} interval: {interval})" if only.interval else ""
    by = f"predicted for {device} by {only.predicted_by}"
    console.print(f"{said}{within}, {by}")


def print_kernels(answer: "Explanation", title: str | None) -> None:
    made = table("layer", "?kernel", ">us", "?>low", "?>high", ">share", "from", title=title)
    for row in answer.kernels:
        times = (f"{1e3 * ms:.3f}" for ms in (row.median_ms, row.low_ms, row.high_ms))
        made.add_row(row.node, row.kernel, *times, f"{row.share:.1%}", row.source)
    overhead = f"{1e3 * answer.overhead_ms:.3f}"
    share = f"{answer.overhead_ms / answer.latency.median_ms:.1%}"
    made.add_row("beyond the kernels", "", overhead, "", "", share, "")
    console.print(made)


def print_comparison(answers: "Mapping[str, Latency | UserError]") -> None:
    from latency_models.devices.latency import Latency

    medians = {
        name: answer.median_ms for name, answer in answers.items() if isinstance(answer, Latency)
    }
    first = next(iter(medians), "none")
    made = table("device", ">latency", ">interval", f">relative to {first}", "")
    for name, answer in answers.items():
        share = f"{medians[name] / medians[first]:.2f}x" if name in medians else "-"
        made.add_row(name, *latency_cells(answer), share, reason(answer))
    console.print(made)


def latency_cells(answer: "Latency | UserError") -> Sequence[str]:
    """Returns the median and the interval as they stand in a table."""
    from latency_models.devices.latency import Latency

    if not isinstance(answer, Latency):
        return "-", "-"
    within = answer.interval
    bounds = f"{within.low_ms:.3g} to {metric('_ms', within.high_ms)}" if within else "-"
    return metric("_ms", answer.median_ms), bounds


def reason(answer: object) -> str:
    return str(answer) if isinstance(answer, ValueError) else ""
