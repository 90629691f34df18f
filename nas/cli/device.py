"""``nas device``: the devices that latency can be measured on."""

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.style import console, metric, table

if TYPE_CHECKING:
    from latency_models.device import Device

device_app = typer.Typer(help="Look at devices.", no_args_is_help=True)


@device_app.command("list")
def list_command() -> None:
    """List the known devices."""
    from latency_models.device import list_devices

    made = table("device", "runtime", "cpu", ">threads", "description")
    for device in list_devices():
        cpu = device.mcpu or "its own"
        made.add_row(device.name, device.runtime, cpu, str(device.threads), device.description)
    console.print(made)
    console.print("nas device check NAME tells what each precision is computed with")


@device_app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(help="Device name, e.g. host.")] = "host",
) -> None:
    """Compile and run a kernel on a device; report what it can do and how noisy it is."""
    from latency_models.device import get_device
    from latency_models.device_check import check_device

    with console.status("compiling and running a kernel"):
        device = get_device(name)
        report = check_device(device)
    console.print(f"{name}: works, {report.runtime} agrees with ONNX Runtime", style="bold")
    made = table("", "")
    made.add_row("cpu", report.cpu)
    made.add_row("compiled for", report.target or "chosen by the runtime")
    made.add_row("instruction sets", ", ".join(report.instruction_sets) or "-")
    made.add_row("small network", metric("latency_ms", report.latency.median_ms))
    made.add_row("noise", f"{report.noise:.1%} (spread over median)")
    made.add_row("largest difference", f"{report.difference:.1e}")
    if (how := report.latency.conditions) is not None:
        made.add_row("reference kernel", f"{how.drift:.2f} of its best time on this machine")
    console.print(made)
    if report.runtime == "tvm":
        print_capabilities(device)


def print_capabilities(device: "Device") -> None:
    """Prints what each precision is computed with, and which only save bytes."""
    from latency_models.device import cpu_of
    from latency_models.kernels.capabilities import capabilities

    made = table("precision", "instruction", ">speed", "")
    for row in capabilities(cpu_of(device)):
        note = f"storage only: {row.reason}" if row.storage_only else ""
        made.add_row(row.precision.name, row.instruction or "-", f"{row.speed:.3g}x", note)
    console.print(made)
    console.print("speed: of the inner loop beside float32, about; nas show measures", style="dim")
