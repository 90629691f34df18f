"""Command line: a thin layer over the Python API; every command imports what it needs itself."""

import gc
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from nas.cli.terminal.style import console, print_error
from nas.cli.terminal.text import in_one_line

# Every command, or group of them: its module in this folder, and its name there. Modules of those
# that are not asked for are not imported: reading all their options takes a fifth of a second.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "search": ("search", "search_command"),
    "status": ("status", "status_command"),
    "dashboard": ("status", "dashboard_command"),
    "front": ("inspect", "front_command"),
    "suggest": ("suggest", "suggest_command"),
    "runs": ("runs", "runs_command"),
    "compare": ("runs", "compare_command"),
    "report": ("inspect", "report_command"),
    "export": ("export", "export_command"),
    "retrain": ("export", "retrain_command"),
    "archive": ("models.archive", "archive_app"),
    "compress": ("models.compress", "compress_command"),
    "quantize": ("quantize", "quantize_command"),
    "sensitivity": ("quantize", "sensitivity_command"),
    "import": ("models.import_model", "import_command"),
    "show": ("inspect", "show_command"),
    "networks": ("inspect", "networks_command"),
    "data": ("data", "data_app"),
    "latency": ("latency", "latency_app"),
    "space": ("inspect", "space_app"),
    "device": ("profile", "device_app"),  # it adds its own to those of device
    "cluster": ("cluster", "cluster_app"),
}
# Of Python's 700: modules make hundreds of thousands of objects that live as long as the process.
OBJECTS_BEFORE_COLLECTION = 50_000


def say_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        console.print(f"hwnas {version('hwnas')}")
        raise typer.Exit


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


def app_of(names: Iterable[str]) -> typer.Typer:
    """Returns the command line with these commands alone."""
    made = typer.Typer(
        name="nas",
        help="Hardware-aware neural architecture search that ships what it searched.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    made.callback()(options)
    for name in names:
        module, attribute = COMMANDS[name]
        found = getattr(import_module(f"nas.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name)(found)
    return made


def asked_for(words: Sequence[str]) -> Sequence[str]:
    """Returns the one command that is called, or all of them where it is none."""
    first = next((word for word in words if not word.startswith("-")), "")
    return (first,) if first in COMMANDS else tuple(COMMANDS)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """``app`` is the whole command line."""
    if name == "app":
        return app_of(COMMANDS)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION, *gc.get_threshold()[1:])
    try:
        app_of(asked_for(given))(given)
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
