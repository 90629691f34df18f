"""Kernels as text: JSON from which the same description is made again, and a stable key.

Fields at their default are left out, so that a new field with a default changes no key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.pointwise import MagnitudeKernel, PointwiseKernel
from latency_models.kernels.pool import GlobalPoolKernel, PoolKernel
from latency_models.kernels.view import Form, View
from latency_models.network_kernels import CompiledKernel
from latency_models.onnx_kernels import OnnxKernel
from latency_models.planning import Kernel
from search_spaces.architecture import read_graph, to_json
from search_spaces.errors import UserError
from search_spaces.space import Architecture

ONNX = "OnnxKernel"

RECORDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *(CompiledKernel, Epilogue, View, Form, *get_args(Kernel)),
        *(PoolKernel, GlobalPoolKernel, PointwiseKernel, MagnitudeKernel),
    )
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
        for item in fields(value):
            field = getattr(value, item.name)
            if item.default is MISSING or field != item.default:
                row[item.name] = encode(field)
        return row
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    assert value is None or isinstance(value, bool | int | float | str), value
    return value


def decode(data: Any) -> Any:  # noqa: ANN401
    """Returns what ``encode`` was given.

    Raises:
        UserError: If the data names a record or field that this hwnas does not have.
    """
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if not isinstance(data, dict):
        return data
    if data.get("is") == ONNX:
        return OnnxKernel(read_graph(data["graph"]))
    kind = RECORDS.get(str(data.get("is")))
    if kind is None:
        raise UserError(
            f"the profile has a kernel {data.get('is')!r} that this hwnas does not know; profile "
            "the device with this version"
        )
    try:
        return kind(**{name: decode(value) for name, value in data.items() if name != "is"})
    except (TypeError, AssertionError) as error:
        raise UserError(f"the profile has a damaged {data['is']}: {error}") from None


def from_text(text: str) -> Any:  # noqa: ANN401
    """Returns the description that ``to_text`` wrote.

    Raises:
        UserError: If it is no such text.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"the profile has a kernel that is not JSON: {error}") from None
    return decode(data)
