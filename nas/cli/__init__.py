"""Command line: a thin layer over the Python API; every command imports what it needs itself."""

import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from nas.cli.cluster import cluster_app
from nas.cli.data import data_app
from nas.cli.device import device_app
from nas.cli.export import export_command, retrain_command
from nas.cli.inspect import (
    front_command,
    networks_command,
    report_command,
    show_command,
    space_app,
)
from nas.cli.latency import latency_app
from nas.cli.models.compress import compress_command
from nas.cli.models.import_model import import_command
from nas.cli.profile import fit_command, profile_command, transfer_command
from nas.cli.quantize import quantize_command, sensitivity_command
from nas.cli.runs import compare_command, runs_command
from nas.cli.search import search_command
from nas.cli.status import dashboard_command, status_command
from nas.cli.style import console, print_error
from nas.cli.terminal.text import in_one_line

app = typer.Typer(
    name="nas",
    help="Hardware-aware neural architecture search that ships what it searched.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.command("search")(search_command)
app.command("status")(status_command)
app.command("dashboard")(dashboard_command)
app.command("front")(front_command)
app.command("runs")(runs_command)
app.command("compare")(compare_command)
app.command("report")(report_command)
app.command("export")(export_command)
app.command("retrain")(retrain_command)
app.command("compress")(compress_command)
app.command("quantize")(quantize_command)
app.command("sensitivity")(sensitivity_command)
app.command("import")(import_command)
app.command("show")(show_command)
app.command("networks")(networks_command)
app.add_typer(data_app, name="data")
app.add_typer(latency_app, name="latency")
app.add_typer(space_app, name="space")
device_app.command("profile")(profile_command)
device_app.command("fit")(fit_command)
device_app.command("transfer")(transfer_command)
app.add_typer(device_app, name="device")
app.add_typer(cluster_app, name="cluster")


def say_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        console.print(f"hwnas {version('hwnas')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=say_version, is_eager=True),
    ] = False,
) -> None:
    """Options before the command."""


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command line (by default this process's own), and exits.

    A mistake of the user is one line and exit code 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a letter that the locale lacks ends no command
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in given
    if debug:  # also allowed behind the command
        given.remove("--debug")
    try:
        app(given)
    except KeyboardInterrupt:
        sys.exit("stopped")
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            from nas.problem.addresses import without_passwords

            print_error(without_passwords(explain(error)))
        sys.exit(2 if is_users(error) else 1)


def explain(error: Exception) -> str:
    """Returns what is wrong, in a line for each mistake whatever names stand in it."""
    from search_spaces.graphs.errors import MistakesError

    mistakes = error.args if isinstance(error, MistakesError) else [str(error)]
    said = "\n".join(map(in_one_line, mistakes))
    if is_users(error):
        return f"error: {said}"
    return (
        f"internal error: {type(error).__name__}: {said}; run again with --debug and report what "
        "it prints"
    )


def is_users(error: Exception) -> bool:
    """Whether an error is about what the user gave (files included), not a fault of ours."""
    from search_spaces.graphs.errors import UserError

    return isinstance(error, UserError | OSError)
