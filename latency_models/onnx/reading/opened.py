"""Opening: an ONNX file as it lies on disk, checked before anything computes with it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
import psutil
from onnx import TensorProto, external_data_helper

from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.schema import shown

MOST_BYTES = (1 << 31) - 1  # of a protobuf message; larger weights lie in files of their own
MOST_WEIGHTS = 1 << 33  # bytes of all weights: 2^31 float32 numbers, as architectures have them
COPIES = 4  # of the weights that an import holds at once: file, arrays, two sessions
NEWEST_OPSET = onnx.defs.onnx_opset_version()


def opened(path: Path) -> onnx.ModelProto:
    """Returns the model in a file, the weights that lie beside it included.

    Raises:
        UserError: If it is no ONNX file, is damaged or too new, its external data is missing or
            outside its folder, or its weights are larger than memory.
    """
    proto = parsed(path)
    check_opsets(path, proto)
    outside = [
        tensor
        for tensor in tensors(proto.graph)
        if external_data_helper.uses_external_data(tensor)
    ]
    size = path.stat().st_size + sum(external_bytes(path, tensor) for tensor in outside)
    check_memory(path, size)
    if outside:
        try:
            external_data_helper.load_external_data_for_model(proto, str(path.parent))
        except Exception as error:
            raise UserError(
                f"{path}: its external data cannot be read: {one_line(error)}; export it again"
            ) from None
    return proto


def parsed(path: Path) -> onnx.ModelProto:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise UserError(
                    f"{path} has {size} bytes, an ONNX file at most {MOST_BYTES}; save it with "
                    "its weights as external data"
                )
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        proto = onnx.load_model_from_string(data)
    except Exception:  # protobuf has classes of its own
        raise UserError(
            f"{path} is not ONNX, or was cut off or damaged; export or download it again"
        ) from None
    if not proto.graph.node or not proto.opset_import:
        raise UserError(
            f"{path} is not ONNX, or was cut off: it has no "
            f"{'operators' if proto.opset_import else 'opset'}; export or download it again"
        )
    return proto


def check_opsets(path: Path, proto: onnx.ModelProto) -> None:
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > NEWEST_OPSET:
            raise UserError(
                f"{path} has opset {opset.version}, and onnx {onnx.__version__} knows "
                f"{NEWEST_OPSET}; export it with opset {NEWEST_OPSET} or less, or upgrade onnx"
            )


def tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yields the arrays of a graph, and of those in its nodes."""
    graphs = [graph]
    while graphs:
        each = graphs.pop()
        yield from each.initializer
        for attribute in (attribute for node in each.node for attribute in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                graphs.append(attribute.g)
            graphs.extend(attribute.graphs)


def external_bytes(path: Path, tensor: TensorProto) -> int:
    """Returns the bytes of a tensor in a file of its own, which must lie in the model's folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    place = entries.get("location", "")
    inner, folder = PurePosixPath(place), path.parent.resolve()
    found = folder / place
    if not place or inner.is_absolute() or ".." in inner.parts or not within(found, folder):
        raise UserError(
            f"{path}: the weights {shown(tensor.name)} lie at {shown(place)}, outside the file's "
            "folder; external data must lie beside the file"
        )
    if not found.is_file():
        raise UserError(
            f"{path}: the weights {shown(tensor.name)} lie in {shown(place)}, which is missing; "
            "copy it beside the file"
        )
    try:
        offset, length = (int(entries.get(key) or 0) for key in ("offset", "length"))
    except ValueError:
        offset, length = -1, 0
    size = found.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise UserError(
            f"{path}: {shown(place)} has {size} bytes and ends before the weights "
            f"{shown(tensor.name)} do; it was cut off or belongs to another file"
        )
    return length or size - offset


def within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def check_memory(path: Path, size: int) -> None:
    """Raises UserError if weights of so many bytes are more than this machine holds."""
    free = psutil.virtual_memory().available
    most = min(MOST_WEIGHTS, free // COPIES)
    if size > most:
        raise UserError(
            f"{path} has {size} bytes of weights, and {most} can be read here (a quarter of the "
            f"{free} bytes of memory that are free, {MOST_WEIGHTS} at most)"
        )
