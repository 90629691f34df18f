"""Command line: every command with its options, and the schemas of what users write."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, get_args

import typer

from benchmarks.numbers.figures import Figure
from latency_models.devices.device import list_devices
from latency_models.devices.own import to_toml
from latency_models.prediction.features import FEATURES, TERMS
from latency_models.transfer.networks import NAMES
from nas.cli import app
from nas.cli.terminal.style import console
from nas.data.sources.registry import SOURCES
from nas.nn.observers import OBSERVERS
from nas.problem.metrics import METRICS
from nas.problem.records import SAMPLERS
from nas.problem.run_file import RunFile
from nas.problem.space_file import SpaceFile
from nas.serving.models import ProfiledModels
from nas.serving.schemas import BatchQuery, PredictQuery
from nas.serving.service import make_app
from search_spaces.blocks import BLOCKS
from search_spaces.graphs.operators import OPERATORS
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import NETWORKS

WIDTH = 200


def said(*words: str) -> str:
    """Returns what a command prints, in this process; it must end well."""
    out = io.StringIO()
    console.width = WIDTH
    with redirect_stdout(out), redirect_stderr(out):
        code = typer.main.get_command(app).main(list(words), "nas", standalone_mode=False)
    if code:
        raise RuntimeError(f"nas {' '.join(words)} ended with {code}: {out.getvalue()}")
    return out.getvalue()


def command_figures() -> dict[str, Figure]:
    return dict(walk(typer.main.get_command(app), "nas"))


def walk(command: Any, path: str) -> Iterator[tuple[str, Figure]]:  # noqa: ANN401  (click)
    yield path, {"help": command.help, "parameters": [parameter(each) for each in command.params]}
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{path} {name}")


def parameter(each: Any) -> Figure:  # noqa: ANN401  (click)
    return {
        "names": [*each.opts, *each.secondary_opts],
        "kind": type(each).__name__.removeprefix("Typer"),
        "values": values_of(each),
        "default": None if each.default is None else str(each.default),
        "required": each.required,
        "multiple": each.multiple,
        "help": getattr(each, "help", None),
    }


def values_of(each: Any) -> str:  # noqa: ANN401  (click)
    """Returns what a parameter takes, for example "int" or "Literal['tvm', 'onnxruntime']"."""
    annotation = each.type_descriptor.annotation
    return str(annotation) if get_args(annotation) else str(annotation.__name__)


def schema_figures() -> dict[str, Figure]:
    openapi = make_app(ProfiledModels()).openapi()
    openapi["info"].pop("version")
    return {
        "run file": RunFile.model_json_schema(),
        "space file": SpaceFile.model_json_schema(),
        "query": PredictQuery.model_json_schema(),
        "batch": BatchQuery.model_json_schema(),
        "service": openapi,
        "devices": {device.name: to_toml(device) for device in list_devices()},
        "names": {
            "samplers": list(SAMPLERS),
            "observers": list(OBSERVERS),
            "sources": list(SOURCES),
            "metrics": list(METRICS),
            "blocks": list(BLOCKS),
            "networks": list(NETWORKS),
            "operators": list(OPERATORS),
            "precisions": {name: str(each) for name, each in PRECISIONS.items()},
            "features": list(FEATURES),
            "terms": list(TERMS),
            "features of networks": list(NAMES),
        },
    }
