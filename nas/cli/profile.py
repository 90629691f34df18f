"""``nas device profile`` and ``transfer``: from a device's times to what predicts its latency."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nas.cli.device import Drift, device_app, say_contention
from nas.cli.terminal.options import within
from nas.cli.terminal.style import console, table
from nas.problem.formatting import duration, seconds_of

if TYPE_CHECKING:
    from latency_models.profiling.profile import ProfileReport
    from latency_models.transfer.device_transfer import TransferReport

Name = Annotated[str, typer.Argument(help="Device name; see nas device list.")]
Channels = Annotated[
    int | None, typer.Option(help="Channels of the images; the data's, or 3.", callback=within(1))
]
Classes = Annotated[
    int | None, typer.Option(help="Classes; the data's, or 10.", callback=within(2))
]
Model = Annotated[
    Literal["learned", "lookup", "roofline"],
    typer.Option(help="What predicts kernels that were not timed."),
]


def how_far_off(held_out: Mapping[str, float]) -> str:
    return f"off by {held_out['mape']:.1%} in the mean, {held_out['within_10']:.0%} within 10 %"


@device_app.command("profile")
def profile_command(
    name: Name,
    space: Annotated[
        Path, typer.Option(help="Run file or space file (YAML) whose kernels are timed.")
    ],
    budget: Annotated[
        str, typer.Option(help="How long to time, e.g. 90s, 15m, 2h; more can be added later.")
    ] = "15m",
    model: Model = "learned",
    channels: Channels = None,
    classes: Classes = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw the same networks each time.", callback=within(0))
    ] = None,
    max_drift: Drift = None,
) -> None:
    """Time a device's kernels, and fit the model that predicts any network of a space.

    Ctrl-C ends the timing and fits what is there; every run adds to what is known.
    """
    from latency_models.devices.device import get_device
    from latency_models.profiling.profile import profile_device
    from latency_models.profiling.profiler import ProfileProgress
    from nas.cli.terminal.progress import progress_bar, said
    from nas.evaluation.drawing import drawing, read_space

    budget_s, device = seconds_of(budget, "a budget"), get_device(name, max_drift)
    drawn = drawing(read_space(space, channels, classes))
    say_contention(device)
    with progress_bar(said("{task.fields[left]} left"), spins=True) as bar:
        task = bar.add_task("drawing networks", total=budget_s, left=duration(budget_s))

        def show(timed: ProfileProgress) -> None:
            failed = f", {timed.failures} failed" if timed.failures else ""
            bar.update(
                task,
                completed=timed.seconds,
                left=duration(max(0.0, timed.budget_s - timed.seconds)),
                description=f"{timed.kernels} kernels, {timed.networks} networks{failed}: "
                f"{timed.last}",
            )

        report = profile_device(
            device, drawn, budget_s=budget_s, on_progress=show, model=model, seed=seed
        )
        bar.update(task, completed=budget_s, left=duration(0), description="fitted")
    print_report(name, report)


@device_app.command("fit")
def fit_command(
    name: Annotated[str, typer.Argument(help="Name of a device that was profiled.")],
    model: Model = "learned",
) -> None:
    """Fit a profiled device's model again, without timing anything."""
    from latency_models.profiling.profile import fit_again

    with console.status("fitting"):
        report = fit_again(name, model=model)
    print_report(name, report)


def print_report(name: str, report: "ProfileReport") -> None:
    about = report.model.about
    console.print(f"{name}: {about['model']} latency model", style="bold")
    made = table("", "")
    if report.kernels or report.networks or report.failures:
        added = f"{report.kernels} kernels and {report.networks} networks timed"
        failed = f", {report.failures} could not be" if report.failures else ""
        made.add_row("this time", added + failed)
    made.add_row("readings", f"{about['kernels']} kernels, {about['networks']} networks")
    if about["set_aside"]:
        made.add_row("set aside", f"{about['set_aside']} readings under other conditions")
    if about["held_out"] is not None:
        made.add_row("networks held out", how_far_off(about["held_out"]))
    if (drift := report.drift) is not None:
        made.add_row(
            "drift",
            f"{drift.ratio:.3f} times as long as before {drift.since[:10]} (80 % of "
            f"{drift.kernels} kernels: {drift.low:.2f} to {drift.high:.2f})",
            style="yellow" if drift.is_notable else None,
        )
    made.add_row("model", str(report.path))
    console.print(made)
    console.print(f"next: nas latency predict ARCHITECTURE.json --device {name}")


@device_app.command("transfer")
def transfer_command(
    name: Name,
    sources: Annotated[
        str, typer.Option("--from", help="Profiled devices to transfer from, by commas.")
    ],
    space: Annotated[
        Path, typer.Option(help="Run file or space file (YAML) whose networks are measured.")
    ],
    samples: Annotated[
        int, typer.Option(help="How many networks to measure, at least 5; 10 to 50 are usual.")
    ] = 20,
    channels: Channels = None,
    classes: Classes = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Of the networks drawn; the same one goes on where it ended.", callback=within(0)
        ),
    ] = 0,
    max_drift: Drift = None,
) -> None:
    """Measure a few networks on a device, and predict the others from other devices' models.

    Can be interrupted and run again, also with more samples: what was measured is kept.
    """
    from rich.progress import MofNCompleteColumn

    from latency_models.devices.device import get_device
    from latency_models.transfer.device_transfer import transfer_device
    from nas.cli.terminal.progress import progress_bar
    from nas.evaluation.drawing import drawing, read_space

    device = get_device(name, max_drift)
    drawn = drawing(read_space(space, channels, classes))
    say_contention(device)
    names = [each.strip() for each in sources.split(",") if each.strip()]
    with progress_bar(MofNCompleteColumn(), spins=True) as bar:
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
    made.add_row("each network left out", how_far_off(about["held_out"]))
    made.add_row("model", str(report.path))
    console.print(made)
    if report.has_own:
        console.print(
            f"{name} also has a model of its own profile, which is used instead of this one",
            style="yellow",
        )
    console.print(f"next: nas latency predict ARCHITECTURE.json --device {name}")
