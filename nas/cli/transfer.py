"""``nas device transfer``: a new device's latency model from a few measured networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.style import console, table

if TYPE_CHECKING:
    from latency_models.profiling.transfer import TransferReport


def transfer_command(
    name: Annotated[str, typer.Argument(help="Device name; see nas device list.")],
    sources: Annotated[
        str, typer.Option("--from", help="Profiled devices to transfer from, by commas.")
    ],
    space: Annotated[
        Path, typer.Option(help="Run file or space file (YAML) whose networks are measured.")
    ],
    samples: Annotated[
        int, typer.Option(help="How many networks to measure, at least 5; 10 to 50 are usual.")
    ] = 20,
    channels: Annotated[
        int | None, typer.Option(help="Channels of the images; the data's, or 3.", min=1)
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Classes; the data's, or 10.", min=2)] = None,
    seed: Annotated[
        int,
        typer.Option(help="Of the networks drawn; the same one goes on where it ended.", min=0),
    ] = 0,
) -> None:
    """Measure a few networks on a device, and predict the others from other devices' models.

    Can be interrupted and run again, also with more samples: what was measured is kept.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from latency_models.device import get_device
    from latency_models.profiling.transfer import transfer_device
    from nas.profile_space import drawing, read_space

    device = get_device(name)
    drawn = drawing(read_space(space, channels, classes))
    names = [each.strip() for each in sources.split(",") if each.strip()]
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("loading models", total=samples)
        report = transfer_device(
            device,
            names,
            drawn,
            samples=samples,
            seed=seed,
            on_step=lambda what, done: bar.update(task, description=what, completed=done),
        )
        bar.update(task, description="fitted", completed=samples)
    print_transfer(name, report)


def print_transfer(name: str, report: "TransferReport") -> None:
    about = report.model.about
    console.print(f"{name}: latency model transferred from other devices", style="bold")
    made = table("", "")
    failed = f", {report.failures} could not be" if report.failures else ""
    made.add_row("this time", f"{report.measured} networks measured{failed}")
    made.add_row("networks", f"{about['networks']} known on {name}")
    if report.left_out:
        kept = "used all the same, too few others" if report.extrapolates else "left out"
        made.add_row("unknown to a source", f"{report.left_out} networks of the space, {kept}")
    for source in about["sources"]:
        made.add_row(
            f"from {source['device']}",
            f"weight {source['weight']:.2f}, rank correlation {source['agreement']:.2f} with "
            "what was measured",
        )
    held_out = about["held_out"]
    made.add_row(
        "each network left out",
        f"off by {held_out['mape']:.1%} in the mean, {held_out['within_10']:.0%} within 10 %",
    )
    made.add_row("model", str(report.path))
    console.print(made, highlight=False)
    if report.has_own:
        console.print(
            f"{name} also has a model of its own profile, which is used instead of this one",
            style="yellow",
        )
    console.print(f"next: nas latency predict ARCHITECTURE.json --device {name}")
