"""``nas archive``: what is in an archive, and a model folder made of one."""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.console import console
from nas.cli.terminal.tables import table
from nas.problem.formatting import percent

if TYPE_CHECKING:
    from nas.models.archives.info import ArchiveInfo, ArrayInfo

archive_app = typer.Typer(
    help="Look into archives (*.hwz), and unpack them.", no_args_is_help=True
)
ArchivePath = Annotated[Path, typer.Argument(help="Archive, e.g. model.hwz.")]
HEAD = (
    *("array", "?form", ">weights", ">kept", ">bits a value", ">value coded"),
    *("?>bits an index", "?>index coded", ">bytes", ">less than fp32"),
)
# What programs are told of an array.
ROW = (
    *("name", "shape", "form", "weights", "kept", "density", "entries", "value_bits"),
    *("coded_value_bits", "index_bits", "coded_index_bits", "table_bytes", "size_bytes", "ratio"),
)


@archive_app.command("info")
def info_command(
    file: ArchivePath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a line for each array.")
    ] = None,
) -> None:
    """Show what each array of an archive keeps and takes, before and after coding."""
    from nas.models.archives.info import archive_info

    found = archive_info(file)
    if as_json:
        typer.echo(json.dumps(info_json(found), indent=1))
    else:
        print_info(file, found)
    if csv_file is not None:
        write_rows(csv_file, found)
        if not as_json:
            console.print(f"{len(found.arrays)} arrays: {csv_file}")


def write_rows(path: Path, found: "ArchiveInfo") -> None:
    """Writes a line for each array."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        for each, row in zip(found.arrays, rows(found), strict=True):
            writer.writerow(row | {"shape": "x".join(map(str, each.shape))})


def print_info(file: Path, found: "ArchiveInfo") -> None:
    """Prints the tables of the paper: weights kept, bits before and after coding, the ratio."""
    made = table(*HEAD, title=f"{found.name} ({file})")
    for each in found.arrays:
        made.add_row(*cells_of(each))
    made.add_row("head", *[""] * 7, f"{found.head_bytes:,}", "")
    kept = percent(found.density)
    totals = (f"{found.total_bytes:,}", f"{found.ratio:.1f}x")
    made.add_row("total", "", f"{found.weights:,}", kept, *[""] * 4, *totals, style="bold")
    console.print(made)
    console.print(f"{found.bits_a_weight:.2f} bits a weight, all bytes of the file counted")


def cells_of(row: "ArrayInfo") -> tuple[str, ...]:
    before = "" if row.index_bits is None else str(row.index_bits)
    return (
        *(row.name, row.form, f"{row.weights:,}", percent(row.density)),
        *(str(row.value_bits), f"{row.coded_value_bits:.2f}"),
        *(before, f"{row.coded_index_bits:.2f}" if row.coded_index_bits else ""),
        *(f"{row.size_bytes:,}", f"{row.ratio:.1f}x"),
    )


def rows(found: "ArchiveInfo") -> list[dict[str, object]]:
    """Returns what programs are told of each array."""
    return [{name: getattr(each, name) for name in ROW} for each in found.arrays]


def info_json(found: "ArchiveInfo") -> dict[str, object]:
    names = ("name", "head_bytes", "total_bytes", "weights", "kept", "ratio")
    return {name: getattr(found, name) for name in names} | {"arrays": rows(found)}


@archive_app.command("unpack")
def unpack_command(
    file: ArchivePath,
    to: Annotated[Path, typer.Option("--to", help="Model folder to write.")],
) -> None:
    """Make a model folder of an archive."""
    from nas.models.archives.archive import read_archive
    from nas.models.folder import check_place, write_model

    check_place(to)
    stored = read_archive(file)
    write_model(to, stored)
    console.print(f"{stored.name} unpacked to {to}", style="bold")
