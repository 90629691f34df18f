"""Matrices: products with weights, and means over pixels.

A product along the last axis is a linear layer where the value is one row, and a 1x1 convolution
where its rows are the pixels of a map, whatever the order of channels and pixels: the weights are
put in ours.

Shape letters: K numbers of a row, N outputs.
"""

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import Affine, ChannelMean
from latency_models.onnx.drafts.views import MapView, in_order, pixel_rows
from latency_models.onnx.reading.codes import coded_weight
from latency_models.onnx.reading.reader import Array, Reader, attributes, whole_of
from search_spaces.graphs import operators as ops
from search_spaces.graphs.precision import FP32, W8A8


def read_gemm(reader: Reader, node: NodeProto) -> None:
    has = attributes(node)
    if has.get("transA", 0):
        reader.fails(node, "transposes what it reads (transA), which makes rows of a batch")
    weight = np.asarray(reader.constant(node, 1))
    is_transposed = bool(has.get("transB", 0))
    alpha, beta = float(has.get("alpha", 1.0)), float(has.get("beta", 1.0))
    bias = reader.optional(node, 2)
    if bias is not None:
        outputs = weight.shape[0 if is_transposed else 1]
        if bias.size not in (1, outputs):
            reader.fails(
                node,
                f"adds an array of shape {list(bias.shape)}, where one number an output is read",
            )
        bias = np.broadcast_to(bias.reshape(-1) * beta, outputs)
    if alpha != 1:  # the codes would count for something else
        reader.coded.pop(node.input[1], None)
    table = weight.T if is_transposed else weight
    put_product(reader, node, table * np.float32(alpha), bias, 0 if is_transposed else 1)


def read_matmul(reader: Reader, node: NodeProto) -> None:
    if reader.is_constant(node, 0) or not reader.is_constant(node, 1):
        reader.fails(
            node,
            "multiplies maps by each other or weights from the left (attention is so), for which "
            "there is no operator; only maps times weights are read",
        )
    weight = np.asarray(reader.constant(node, 1))
    while weight.ndim > 2 and weight.shape[0] == 1:
        weight = weight[0]
    if weight.ndim != 2:
        reader.fails(node, f"has weights of shape {list(weight.shape)}; a matrix is read")
    put_product(reader, node, weight, None, 1)


def put_product(
    reader: Reader, node: NodeProto, table: Array, bias: Array | None, axis: int
) -> None:
    """Adds the layer that multiplies a value's last axis by a table (K, N).

    Args:
        axis: Of the outputs in the file's weights.
    """
    view = reader.view(node)
    if view.positions.shape[-1] != len(table):
        reader.fails(
            node,
            f"multiplies rows of {view.positions.shape[-1]} numbers by weights for {len(table)}",
        )
    rows = view.positions.reshape(-1, len(table))
    if len(rows) == 1:
        if not view.is_whole:
            view = reader.settled(node, view)
        layer(reader, node, view, table, bias, axis)
        return
    found = pixel_rows(view)
    if found is None:
        reader.fails(
            node,
            f"multiplies {len(rows)} rows that are not the pixels of one map, each with its "
            "channels; sequences have no operator here",
        )
    channels, pixels = found
    if len(np.unique(channels)) != len(channels):
        reader.fails(node, "reads a channel twice, which no convolution does")
    weight = np.zeros((table.shape[1], view.shape[0], 1, 1), np.float32)
    weight[:, channels, 0, 0] = table.T
    operator = ops.Conv2d(table.shape[1], norm="none", bias=bias is not None, activation="none")
    arrays = {"weight": weight} | ({} if bias is None else {"bias": bias})
    name = reader.add(node, operator, view.map, arrays=arrays)
    positions = in_order(table.shape[1])[None, :] * view.pixels + pixels[:, None]
    shape = (*view.positions.shape[:-1], table.shape[1])
    made = whole_of(reader, name)
    reader.put(node, made.moved(positions.astype(np.int32).reshape(shape)))


def layer(
    reader: Reader, node: NodeProto, view: MapView, table: Array, bias: Array | None, axis: int
) -> None:
    """Adds a linear layer on all of a map, its weights in the map's order."""
    order = view.positions.reshape(-1)
    weight = np.empty((table.shape[1], len(table)), np.float32)
    weight[:, order] = table.T
    coded = coded_weight(reader, node, 1, view.map, axis)
    if coded is not None:
        codes = np.empty_like(coded.codes)
        codes[:, order] = coded.codes
        arrays = type(coded)(codes, coded.step).arrays(weight, bias)
    else:
        arrays = {"weight": weight} | ({} if bias is None else {"bias": bias})
    operator = ops.Linear(
        len(weight),
        bias="bias" in arrays and coded is None,
        precision=FP32 if coded is None else W8A8,
        norm="none" if coded is None else "folded",
    )
    name = reader.add(node, operator, view.map, arrays=arrays)
    reader.put(node, whole_of(reader, name, (*view.positions.shape[:-1], len(weight))))


def read_reduce(reader: Reader, node: NodeProto) -> None:
    """Reads the mean, sum or maximum over pixels, or the mean over channels."""
    view, has = reader.settled(node, reader.view(node)), attributes(node)
    axes = reduced_axes(reader, node, view)
    keeps = bool(has.get("keepdims", 1))
    kept = [axis for axis in range(view.positions.ndim) if axis not in axes]
    table = view.positions.transpose(*kept, *axes).reshape(
        *(view.positions.shape[axis] for axis in kept), -1
    )
    shape = tuple(
        1 if axis in axes else length
        for axis, length in enumerate(view.positions.shape)
        if keeps or axis not in axes
    )
    rows = table.reshape(-1, table.shape[-1])
    if rows.shape[1] == 1:
        reader.put(node, view.moved(rows.reshape(shape)))
    elif (rows // view.pixels == rows[:, :1] // view.pixels).all() and rows.shape[
        1
    ] == view.pixels:
        name = over_pixels(reader, node, view)
        order = (rows[:, 0] // view.pixels).astype(np.int32).reshape(shape)
        reader.put(node, whole_of(reader, name).moved(order))
    elif (
        node.op_type == "ReduceMean"
        and (rows % view.pixels == rows[:, :1] % view.pixels).all()
        and rows.shape[1] == view.shape[0]
    ):
        name = reader.add(node, ChannelMean(), view.map)
        order = (rows[:, 0] % view.pixels).astype(np.int32).reshape(shape)
        reader.put(node, whole_of(reader, name).moved(order))
    else:
        over_lines(reader, node, view, axes, shape)


def reduced_axes(reader: Reader, node: NodeProto, view: MapView) -> list[int]:
    has = attributes(node)
    given = reader.optional(node, 1)
    axes = has.get("axes") if given is None else given.reshape(-1)
    rank = view.positions.ndim
    if axes is None or not len(axes):
        axes = range(rank)
    found = sorted({int(axis) % rank for axis in axes if -rank <= int(axis) < rank})
    if len(found) != len(axes):
        reader.fails(
            node, f"reduces axes {[int(axis) for axis in axes]} of a value of {rank} axes"
        )
    return found


def over_pixels(reader: Reader, node: NodeProto, view: MapView) -> str:
    """Adds the mean, sum or maximum of each channel and returns its name."""
    if node.op_type == "ReduceMax":
        return reader.add(node, ops.MaxPool(view.shape[1:], (1, 1)), view.map)
    if node.op_type == "ReduceMean":
        return reader.add(node, ops.GlobalAvgPool(), view.map)
    mean = reader.add(node, ops.GlobalAvgPool(), view.map, is_result=False)
    count = np.full(view.shape[0], view.pixels, np.float32)
    arrays = {"gain": count, "term": np.zeros_like(count)}
    return reader.add(node, Affine(), mean, arrays=arrays)


def over_lines(
    reader: Reader, node: NodeProto, view: MapView, axes: list[int], shape: tuple[int, ...]
) -> None:
    """Adds the mean or maximum of each row or column of a map (1, C, H, W)."""
    _, height, width = view.shape
    window = {(2,): (height, 1), (3,): (1, width)}.get((axes[0],) if len(axes) == 1 else (0,))
    in_place = view.positions.shape == (1, *view.shape) and view.is_in_order
    if window is None or not in_place or node.op_type == "ReduceSum":
        reader.fails(
            node, f"reduces axes {axes}, which are neither the pixels nor the channels of a map"
        )
    pool = ops.MaxPool if node.op_type == "ReduceMax" else ops.AvgPool
    name = reader.add(node, pool(window, (1, 1)), view.map)
    reader.put(node, whole_of(reader, name, shape))
