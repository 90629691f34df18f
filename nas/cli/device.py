"""``nas device``: the devices that latency can be measured on."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latency_models.devices.lazy import leave_torch_out
from nas.cli.terminal.options import within
from nas.cli.terminal.style import console, metric, table

if TYPE_CHECKING:
    from latency_models.devices.device import Device

device_app = typer.Typer(help="Look at devices, add and serve them.", no_args_is_help=True)

Tracker = Annotated[
    str, typer.Option(help="Tracker that knows boards, as HOST:PORT.", show_default=False)
]
Key = Annotated[
    str, typer.Option(help="What the tracker calls boards of this kind.", show_default=False)
]
Drift = Annotated[
    float | None,
    typer.Option(
        help="How many times its best the reference kernel may take beside a reading "
        "(usually 1.35); more is a machine too busy to measure on.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen at.")]
Trusting = Annotated[
    bool,
    typer.Option(
        "--trust-network",
        help="Listen where other machines connect: any of them can run any code as you.",
    ),
]


@device_app.command("list")
def list_command() -> None:
    """List the known devices."""
    from latency_models.devices.device import list_devices

    made = table("device", "?runtime", "cpu", "?>threads", "description")
    for device in list_devices():
        made.add_row(
            device.name,
            device.runtime,
            f"{device.mcpu} at {device.where}" if device.is_remote else device.mcpu,
            str(device.threads),
            device.description,
        )
    console.print(made)
    console.print("nas device check NAME tells what each precision is computed with")


@device_app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="What to call it, e.g. pi4.")],
    target: Annotated[
        str,
        typer.Option(
            help="CPU as LLVM calls it, with @PLATFORM where that is not this machine's, e.g. "
            "cortex-a72@aarch64-linux-gnu; detect asks the device."
        ),
    ] = "detect",
    rpc: Annotated[
        str,
        typer.Option(help="Where nas device serve runs, as HOST:PORT.", show_default=False),
    ] = "",
    tracker: Tracker = "",
    key: Key = "",
    threads: Annotated[
        int, typer.Option(help="Threads that a network may use.", callback=within(1))
    ] = 1,
    runtime: Annotated[
        Literal["tvm", "onnxruntime"], typer.Option(help="What runs networks.")
    ] = "tvm",
    description: Annotated[str, typer.Option(help="For lists.", show_default=False)] = "",
    max_drift: Drift = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the device's file.")] = False,
) -> None:
    """Add a device: this machine as another CPU, or a board that is reached over RPC."""
    leave_torch_out()
    from latency_models.boards.remote_cpu import detect
    from latency_models.devices.device import DETECT, Device
    from latency_models.devices.own import add_device

    mcpu, _, triple = target.partition("@")
    if mcpu == DETECT and (rpc or tracker):
        with console.status("asking the device for its CPU"):
            mcpu, triple = detect(name, rpc=rpc, tracker=tracker, key=key)
        console.print(f"its CPU is {mcpu}{f' ({triple})' if triple else ''}")
    device = Device(
        name,
        description or ("a board" if rpc or tracker else "this machine"),
        mcpu,
        threads,
        runtime,
        **({} if max_drift is None else {"max_drift": max_drift}),
        triple=triple,
        rpc=rpc,
        tracker=tracker,
        key=key,
    )
    with console.status("looking up its CPU"):
        path = add_device(device, replace=force)
    console.print(f"wrote {path}; next: nas device check {name}")


@device_app.command("edit")
def edit_command(
    name: Annotated[str, typer.Argument(help="One of your own devices.")],
    target: Annotated[
        str | None, typer.Option(help="CPU as LLVM calls it, with @PLATFORM; see add.")
    ] = None,
    rpc: Annotated[
        str | None, typer.Option(help="Where nas device serve runs, as HOST:PORT.")
    ] = None,
    tracker: Annotated[str | None, typer.Option(help="Tracker that knows boards.")] = None,
    key: Annotated[str | None, typer.Option(help="What the tracker calls them.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that a network may use.")] = None,
    runtime: Annotated[
        Literal["tvm", "onnxruntime"] | None, typer.Option(help="What runs networks.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="For lists.")] = None,
    max_drift: Drift = None,
) -> None:
    """Change one of your own devices; what is not given stays as it is."""
    leave_torch_out()
    from latency_models.devices.own import add_device, own_device

    device = own_device(name)
    given: dict[str, Any] = {
        **{"rpc": rpc, "tracker": tracker, "key": key, "threads": threads, "runtime": runtime},
        **{"description": description, "max_drift": max_drift},
    }
    if target is not None:
        given["mcpu"], _, given["triple"] = target.partition("@")
    changed = {field: value for field, value in given.items() if value is not None}
    with console.status("looking up its CPU"):
        path = add_device(replace(device, **changed), replace=True)
    console.print(f"wrote {path}; next: nas device check {name}")


@device_app.command("remove")
def remove_command(
    name: Annotated[str, typer.Argument(help="One of your own devices.")],
) -> None:
    """Forget one of your own devices; its profile, if it has one, is kept."""
    from latency_models.devices.folders import profiles_folder
    from latency_models.devices.own import remove_device

    console.print(f"removed {remove_device(name)}")
    if (kept := profiles_folder() / name).exists():
        console.print(f"its profile is kept in {kept}")


@device_app.command("serve")
def serve_command(
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen at.", callback=within(0, 65535))
    ] = 9090,
    tracker: Tracker = "",
    key: Key = "",
    trusting: Trusting = False,
) -> None:
    """On a board: run networks for machines that measure on it (TVM's RPC server)."""
    leave_torch_out()
    from latency_models.boards.server import serve_board

    serve_board(host, port, say, tracker=tracker, key=key, trusting=trusting)


@device_app.command("tracker")
def tracker_command(
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen at.", callback=within(0, 65535))
    ] = 9190,
    trusting: Trusting = False,
) -> None:
    """Share boards: tell whoever measures which board of a kind is free (TVM's tracker)."""
    leave_torch_out()
    from latency_models.boards.server import serve_tracker

    serve_tracker(host, port, say, trusting=trusting)


def say(line: str) -> None:
    typer.echo(line)  # flushed at once, as whoever waits for it reads a pipe


@device_app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(help="Device name, e.g. host.")] = "host",
    max_drift: Drift = None,
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse",
            help="Also measure from which sparsity on linear layers run faster on the weights "
            "that they keep; half a minute, once.",
        ),
    ] = False,
) -> None:
    """Compile and run a kernel on a device; report what it can do and how noisy it is."""
    leave_torch_out()
    from latency_models.devices.contention import contention
    from latency_models.devices.device import get_device
    from latency_models.measurement.device_check import check_device

    with console.status("compiling and running a kernel"):
        device = get_device(name, max_drift)
        slowed = "" if device.is_remote else contention(device.threads)
        report = check_device(device)
    console.print(f"{name}: works, {report.runtime} agrees with ONNX Runtime", style="bold")
    made = table("", "")
    made.add_row("cpu", report.cpu)
    made.add_row("compiled for", report.target or "chosen by the runtime")
    made.add_row("instruction sets", ", ".join(report.instruction_sets) or "-")
    made.add_row("small network", metric("latency_ms", report.latency.median_ms))
    made.add_row("noise", f"{report.noise:.1%} (spread over median)")
    if (how := report.latency.conditions) is not None:
        drift = f"{how.drift:.2f} times the best of its reference kernel"
        made.add_row("clock drift", drift)
    made.add_row("largest difference", f"{report.difference:.1e}")
    if slowed:
        made.add_row("slowed down", slowed, style="yellow")
    console.print(made)
    if report.runtime == "tvm":
        print_capabilities(device)
    if sparse:
        print_sparse_speeds(device)


def say_contention(device: "Device") -> None:
    """Says what slows this machine down, where networks are timed on it."""
    from latency_models.devices.contention import contention

    if not device.is_remote and (slowed := contention(device.threads)):
        console.print(f"this machine is slowed down: {slowed}", style="yellow")


def print_capabilities(device: "Device") -> None:
    """Prints what each precision is computed with, and which only save bytes."""
    from latency_models.devices.capabilities import capabilities
    from latency_models.devices.device import cpu_of

    made = table("precision", "instruction", ">speed", "")
    for row in capabilities(cpu_of(device)):
        note = f"storage only: {row.reason}" if row.storage_only else ""
        made.add_row(row.precision.name, row.instruction or "-", f"{row.speed:.3g}x", note)
    console.print(made)
    console.print("speed: of the inner loop beside float32, about; nas show measures", style="dim")


def print_sparse_speeds(device: "Device") -> None:
    """Prints from which sparsity on linear layers of a few sizes are faster sparse."""
    from latency_models.measurement.measurer import Measurer
    from latency_models.measurement.sparse_speed import BITS, sparse_speeds

    with console.status("timing sparse layers"), Measurer(device) as measurer:
        rows = sparse_speeds(measurer)
    made = table("linear layer", ">sparse from", ">sparse", ">dense")
    for row in rows:
        pays = f"{1 - row.density:.0%} zeros" if row.density is not None else "never"
        size = f"{row.size} x {row.size}"
        made.add_row(
            size, pays, *(metric("latency_ms", ms) for ms in (row.sparse_ms, row.dense_ms))
        )
    console.print(made)
    console.print(f"of weights that share {1 << BITS} values, one image at a time", style="dim")
