"""Kernels as text: JSON from which the same description is made again, and a stable key.

Fields at their default are left out, so that a new field with a default changes no key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any

from latency_models.compiler.network_kernels import AnyKernel, CompiledKernel
from latency_models.compiler.plan import KERNELS
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.kernel import Kernel
from latency_models.kernels.view import Form, View
from latency_models.onnx.kernels import OnnxKernel
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.space.architecture import read_graph, to_json
from search_spaces.space.space import Architecture

ONNX = "OnnxKernel"
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError)

RECORDS: Mapping[str, type] = {
    kind.__name__: kind for kind in (CompiledKernel, Epilogue, View, Form, *KERNELS)
}


def to_text(record: object) -> str:
    """Returns a description of a kernel as JSON; equal kernels give equal text."""
    return json.dumps(encode(record), sort_keys=True, separators=(",", ":"))


def key_of(text: str) -> str:
    """Returns 16 hex digits that stand for a kernel's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, OnnxKernel):
        whole = to_json(Architecture("", (), value.graph))
        return {"is": ONNX, "graph": whole["graph"]}
    if is_dataclass(value):
        row: dict[str, Any] = {"is": type(value).__name__}
        for name, default in fields_of(value.__class__):
            field = getattr(value, name)
            if field is not default and (default is MISSING or field != default):
                row[name] = encode(field)
        return row
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    assert value is None or isinstance(value, bool | int | float | str), value
    return value


@cache
def fields_of(kind: type) -> tuple[tuple[str, Any], ...]:
    """The name and default of each field of a record."""
    return tuple((item.name, item.default) for item in fields(kind) if item.init)


def decode(data: Any) -> Any:  # noqa: ANN401
    """Returns what ``encode`` was given; raises any of `DAMAGED` where the data is otherwise."""
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if not isinstance(data, dict):
        return data
    if data["is"] == ONNX:
        graph = read_graph(data["graph"])
        graph.node("kernel")  # must be there
        return OnnxKernel(graph)
    if data["is"] not in RECORDS:
        raise ValueError(f"{data['is']!r} is unknown to this hwnas")
    kind = RECORDS[data["is"]]
    return kind(**{name: decode(value) for name, value in data.items() if name != "is"})


def from_text(text: str) -> AnyKernel:
    """Returns the kernel that ``to_text`` wrote.

    Raises:
        UserError: If it is no such text, or has a record or field that this hwnas does not have.
    """
    try:
        kernel = decode(json.loads(text))
        if isinstance(kernel, CompiledKernel) and isinstance(kernel.kernel, Kernel):
            return kernel
        if isinstance(kernel, OnnxKernel):
            return kernel
        reason = f"{text[:60]!r} is none"
    except DAMAGED as error:
        reason = f"{type(error).__name__} {one_line(error)}"
    raise UserError(
        f"the profile has a kernel that cannot be read ({reason}); remove the profile and profile "
        "the device with this version"
    )
