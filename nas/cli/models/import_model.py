"""The command that brings in a trained network: nas import."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.console import console
from nas.cli.terminal.numbers import metric
from nas.cli.terminal.tables import table
from nas.cli.terminal.text import in_one_line
from search_spaces.graphs.errors import UserError

if TYPE_CHECKING:
    from nas.models.importing.flow import Import

FilePath = Annotated[Path, typer.Argument(help="ONNX file of a network that classifies pictures.")]
Folder = Annotated[Path, typer.Option("--to", help="Model folder to write.")]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape", help="Size of a picture, where the file leaves it open: 3,224,224."
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Its name; by default the file's.")]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        help="What it was trained to have subtracted from pixels / 255: 0.485,0.456,0.406.",
    ),
]
Std = Annotated[str | None, typer.Option("--std", help="What the rest is divided by.")]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Names of the classes in their order, or a file of a name a line."
    ),
]


def import_command(
    model: FilePath,
    to: Folder,
    input_shape: InputShape = None,
    name: Name = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
) -> None:
    """Bring in a trained network: an ONNX file becomes a model folder that all commands take."""
    from nas.models.folder import ModelInput, check_place, write_model
    from nas.models.importing.flow import import_model

    check_place(to)
    given = ModelInput(mean=numbers("--mean", mean), std=numbers("--std", std))
    class_names = names_of(classes)
    with console.status(f"importing {model}") as status:
        found = import_model(
            model,
            sizes(input_shape),
            name,
            say=lambda step: status.update(f"importing {model}: {step}"),
        )
        stored = replace(found.stored, input=given, class_names=class_names)
        write_model(to, stored)
    print_import(found, to)


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Returns the numbers in a text, between commas.

    Raises:
        UserError: If it holds anything else.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"{option} must be a number a channel, such as 0.485,0.456,0.406, got "
            f"{in_one_line(text)!r}"
        ) from None


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Returns the class names in a text, between commas, or in the lines of a file.

    Raises:
        UserError: If one is empty or stands twice, or the file cannot be read.
    """
    if text is None:
        return None
    parts = text.split(",")
    try:
        if len(parts) == 1 and Path(text).is_file():
            parts = Path(text).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read class names in {in_one_line(text)}: {error}") from None
    names = tuple(part.strip() for part in parts)
    twice = [name for name in names if not name or names.count(name) > 1]
    if twice:
        raise UserError(
            f"class names must differ and none be empty, got {in_one_line(twice[0])!r} among "
            f"{len(names)}; give them as a,b,c or a file of a name a line"
        )
    return names


def sizes(text: str | None) -> tuple[int, ...] | None:
    """Returns the sizes in a text, between commas.

    Raises:
        UserError: If it holds anything else.

    >>> sizes("3,224,224"), sizes("1x3x32x32")
    ((3, 224, 224), (1, 3, 32, 32))
    """
    if text is None:
        return None
    parts = text.lower().replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and len(part.strip()) < 8 for part in parts):
        raise UserError(f"--input-shape must read as 3,224,224, got {in_one_line(text)!r}")
    return tuple(int(part) for part in parts)


def print_import(found: "Import", folder: Path) -> None:
    """Prints what was brought in, what was left out, and what to do with it."""
    from search_spaces.graphs.cost import network_cost

    graph = found.stored.model.graph
    cost = network_cost(graph)
    channels, height, width = graph.input_shape
    rows = table("", "")
    rows.add_row("input", f"{channels} x {height} x {width}")
    rows.add_row("classes", str(found.stored.num_classes))
    rows.add_row("layers", str(len(graph.nodes)))
    rows.add_row("parameters", metric("params", cost.params))
    rows.add_row("multiply-accumulates", metric("macs", cost.macs))
    rows.add_row(
        "differs from ONNX Runtime",
        f"by {found.agreement.difference:.1e} of the largest output at most, on "
        f"{found.agreement.pictures} random pictures",
    )
    console.print(f"{found.stored.name} imported to {folder}", style="bold")
    console.print(rows)
    for note in found.notes:
        console.print(f"note: {note}")
    console.print(f"next: nas show {folder}")
    console.print(f"      nas latency measure {folder}")
    console.print(f"      nas compress {folder} RECIPE.yaml")
