"""``nas data``: look at images before a search does, and at what is kept of them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.terminal.style import console, table
from nas.problem.formatting import percent, scaled

if TYPE_CHECKING:
    from nas.data.sources.check import Findings, Heads
    from nas.data.sources.listing import Listing
    from nas.data.splits import Splits
    from nas.problem.records import DataConfig

data_app = typer.Typer(help="Look at images and at what is kept of them.", no_args_is_help=True)
NAMED = 5  # images that a line names
RARE = 10  # times fewer images than the largest class has


@data_app.command("check")
def check_data(
    data: Annotated[
        str,
        typer.Argument(help="A folder, .npz, parquet file or pattern of images, or a run file."),
    ],
    kind: Annotated[
        str | None, typer.Option(help="folder, parquet or npz, where the path does not tell.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data: resolution=64, image_column=img."),
    ] = None,
) -> None:
    """Say what is in a data set, what is odd about it, and the lines of a run file for it."""
    from nas.data.sources.check import look_into, read_heads_of, resized_to
    from nas.data.sources.listing import loaded
    from nas.data.sources.registry import make_source
    from nas.data.splits import split

    config = data_config(data, kind, settings or [])
    listing = make_source(config.kind, **config.settings).listing()
    heads = read_heads_of(listing)
    if heads is not None and heads.sizes:
        listing = resized_to(listing, heads.side)
        console.print(about_heads(listing, heads))
    images = loaded(listing)
    for note in images.notes:
        console.print(note)
    splits = split(
        images.data,
        images.test,
        images.validation,
        seed=config.seed,
        validation=config.validation,
        test=config.test,
        train=config.train,
    )
    findings = look_into(listing, images, splits)
    console.print(counted(listing, findings))
    for line in warned(listing, findings):
        console.print(line, style="yellow")
    shape = "x".join(map(str, images.data.image_shape))
    console.print(
        f"decoded to {shape} each, {scaled(findings.num_bytes, 'B')} in all, kept on disk and "
        "shared by all processes"
    )
    for line in run_file_lines(config, heads, splits, findings):
        console.print(line)


def data_config(data: str, kind: str | None, settings: list[str]) -> "DataConfig":
    """Returns the data of a run file, or of a path and settings."""
    from nas.data.sources.check import guess_kind
    from nas.problem.run_file import data_of, read_run_file

    if data.endswith((".yaml", ".yml")):
        return read_run_file(Path(data), [f"data.{text}" for text in settings]).data.config()
    where = str(Path(data).expanduser().absolute())
    return data_of({"kind": kind or guess_kind(data), "path": where}, settings)


def about_heads(listing: "Listing", heads: "Heads") -> str:
    sizes = [
        f"{height}x{width}" for height, width in dict.fromkeys((heads.smallest, heads.largest))
    ]
    more = f" ({len(heads.sizes)} sizes)" if len(heads.sizes) > 1 else ""
    modes = ", ".join(f"{count} {mode}" for mode, count in sorted(heads.modes.items()))
    turned = f", {heads.turned} turned by their EXIF data" if heads.turned else ""
    total = sum(heads.sizes.values())
    return f"{listing.name}: {total} pictures of {' to '.join(sizes)}{more}; {modes}{turned}"


def counted(listing: "Listing", findings: "Findings") -> Any:  # noqa: ANN401  (a table)
    made = table("class", *(f">{name}" for name in findings.counts), ">all")
    rows = zip(*findings.counts.values(), strict=True)
    for name, counts in zip(listing.class_names, rows, strict=True):
        made.add_row(name, *map(str, counts), str(sum(counts)))
    totals = [sum(counts) for counts in findings.counts.values()]
    made.add_row("all", *map(str, totals), str(sum(totals)), style="bold")
    return made


def warned(listing: "Listing", findings: "Findings") -> list[str]:
    """Returns a line for each thing that makes accuracies doubtful."""
    lines, name = [], listing.name
    if findings.leaked:
        pairs = ", ".join(f"{one} = {other}" for one, other in findings.leaked[:NAMED])
        lines.append(
            f"{name}: {len(findings.leaked)} images are in two splits, which flatters accuracy: "
            f"{pairs}{more(findings.leaked)}"
        )
    if findings.contradictory:
        pairs = ", ".join(f"{one} = {other}" for one, other in findings.contradictory[:NAMED])
        lines.append(
            f"{name}: {len(findings.contradictory)} images are in two classes: {pairs}"
            f"{more(findings.contradictory)}"
        )
    if findings.twice:
        lines.append(f"{name}: {findings.twice} images repeat an earlier one")
    if findings.near_constant:
        lines.append(
            f"{name}: {len(findings.near_constant)} images are nearly of one colour: "
            f"{', '.join(findings.near_constant[:NAMED])}{more(findings.near_constant)}"
        )
    counts = findings.class_counts
    by_class = zip(listing.class_names, counts, strict=True)
    if rare := [each for each, count in by_class if count * RARE < max(counts)]:
        lines.append(
            f"{name}: less than a tenth of the largest class's images: "
            f"{', '.join(rare[:NAMED])}{more(rare)}; to answer that class always is right in "
            f"{percent(findings.largest_share)}"
        )
    return lines


def more(found: "tuple[object, ...] | list[str]") -> str:
    return f" and {len(found) - NAMED} more" if len(found) > NAMED else ""


def run_file_lines(
    config: "DataConfig", heads: "Heads | None", splits: "Splits", findings: "Findings"
) -> list[str]:
    """Returns what to write into a run file for these images."""
    from nas.data.sources.registry import make_source
    from nas.problem import yaml_text

    source = make_source(config.kind, path=config.settings.get("path", ""))
    usual = {name: getattr(source, name) for name in config.settings}
    given = {name: value for name, value in config.settings.items() if value != usual[name]}
    lines: dict[str, Any] = {"kind": config.kind, "path": config.settings["path"], **given}
    if heads is not None and len(heads.sizes) > 1 and "resolution" not in given:
        lines["resolution"] = list(splits.train.image_shape[1:])
    if heads is not None and heads.is_grey:
        lines["channels"] = 1
    text = yaml_text.dump({"data": lines})
    if max(findings.class_counts) > RARE * min(findings.class_counts):
        text += "objectives: [balanced_accuracy, latency_ms]\n"
    return ["for a run file:", *(f"  {line}" for line in text.splitlines())]


@data_app.command("cache")
def show_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
) -> None:
    """List the decoded images that are kept on disk, or remove them."""
    from nas.data.sources import cache
    from nas.problem.formatting import duration

    folder = cache.images_folder()
    if clear:
        console.print(f"removed {scaled(cache.clear(folder), 'B')} from {folder}")
        return
    kept, limit = cache.entries(folder), cache.limit_bytes()
    made = table("data", ">images", "shape", ">size", "used", "folder")
    for entry in kept:
        count, height, width, channels = entry.shape
        cells = (
            str(count),
            f"{channels}x{height}x{width}",
            scaled(entry.num_bytes, "B"),
            f"{duration(time.time() - entry.used_s)} ago",
        )
        made.add_row(entry.name, *cells, entry.path.name)
    if kept:
        console.print(made)
    total = scaled(sum(entry.num_bytes for entry in kept), "B")
    console.print(f"{total} of at most {scaled(limit, 'B')} in {folder}")
