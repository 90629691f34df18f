"""``nas device``: the devices that latency can be measured on."""

from typing import Annotated

import typer

from nas.cli.style import console, metric, table

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


@device_app.command("check")
def check_command(
    name: Annotated[str, typer.Argument(help="Device name, e.g. host.")] = "host",
) -> None:
    """Compile and run a kernel on a device; report what it can do and how noisy it is."""
    from latency_models.device import get_device
    from latency_models.device_check import check_device

    with console.status("compiling and running a kernel"):
        report = check_device(get_device(name))
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
