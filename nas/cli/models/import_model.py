"""The command that brings in a trained network: nas import."""

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


def import_command(
    model: FilePath, to: Folder, input_shape: InputShape = None, name: Name = None
) -> None:
    """Bring in a trained network: an ONNX file becomes a model folder that all commands take."""
    from nas.models.folder import check_place, write_model
    from nas.models.importing.flow import import_model

    check_place(to)
    with console.status(f"importing {model}") as status:
        found = import_model(
            model,
            sizes(input_shape),
            name,
            say=lambda step: status.update(f"importing {model}: {step}"),
        )
        write_model(to, found.stored)
    print_import(found, to)


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
