"""Options: what several commands take, and the limits of numbers, which are told in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from search_spaces.graphs.errors import UserError

Check = Callable[[typer.CallbackParam, int | None], int | None]


def within(least: int, most: int | None = None) -> Check:
    """Returns what refuses a number of an option that is not within limits.

    Raises, when a command is called:
        UserError: If it is not.
    """

    def check(param: typer.CallbackParam, value: int | None) -> int | None:
        if value is None or (value >= least and (most is None or value <= most)):
            return value
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{param.opts[0]} must be {limits}, got {value}")

    return check


ArchitecturePath = Annotated[
    Path, typer.Argument(help="Architecture file (JSON), model folder, export or archive.")
]
RunPath = Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")]
SubjectPath = Annotated[
    Path, typer.Argument(help="Run folder, model folder, export or archive (*.hwz).")
]
Pick = Annotated[
    str,
    typer.Option(
        help="best (first objective), knee, fastest (latency, else MACs), or a trial's number."
    ),
]
RunPick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        help="Of a run: best (first objective), knee (the default), fastest (latency, else MACs), "
        "or a trial's number.",
    ),
]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency-ms", help="Leave out what is slower.")
]
DataPath = Annotated[
    str | None,
    typer.Option("--data", help="Where the run's data lies now, if it was moved (data.path)."),
]
ImagesPath = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Of a run: where its data lies now, if it was moved (data.path). Of a model: a run, "
        "or a YAML file with a section data, whose images it is checked on.",
    ),
]
TimedOn = Annotated[
    str | None,
    typer.Option("--device", help="What times files; the run's own, or host for a model."),
]
Formats = Annotated[str, typer.Option(help="Files to write.")]
Batch = Annotated[
    int | None,
    typer.Option(
        help="Images that the ONNX file takes at once; any number by default.",
        callback=within(1),
    ),
]
Coder = Annotated[
    Literal["ans", "huffman"],
    typer.Option("--entropy", help="What codes an archive; huffman as in Deep Compression."),
]
Measure = Annotated[
    bool, typer.Option("--measure/--no-measure", help="Time the files on the device.")
]


def names_in(text: str) -> tuple[str, ...]:
    """Returns the names in a text, between commas.

    >>> names_in("onnx, tvm,")
    ('onnx', 'tvm')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())
