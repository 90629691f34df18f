"""Moves: nodes that only move numbers: each gives other positions in the same map."""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.views import ZERO, MapView, Positions, in_order, selection
from latency_models.onnx.reading.reader import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Reader,
    attributes,
    whole_of,
)
from search_spaces.graphs import operators as ops

MOST_AXES, MOST_PADDING, MOST_REPEATED = 8, 4096, 1 << 28
KEPT, ROW = (0, 1, 2, 3), (0, 1, 2)


def read_same(reader: Reader, node: NodeProto) -> None:
    """Reads what changes nothing when a network is used: Identity, Dropout, Cast."""
    reader.put(node, reader.values[node.input[0]])


def is_map(view: MapView) -> bool:
    """Whether a value is a map or channels of one, in any order."""
    return view.is_in_order or (view.positions.ndim == 4 and selection(view) is not None)


def put_positions(reader: Reader, node: NodeProto, view: MapView, positions: Positions) -> None:
    """Makes the node's result other positions in a map, and that a map where it shuffles one.

    So a shuffle that is split later is one operator, and the split another.
    """
    moved = view.moved(positions)
    is_picture = positions.ndim == 4 and positions.shape[0] == 1
    is_like = is_picture and positions.shape[1:] == view.shape and not moved.is_in_order
    if is_like and node.op_type == "Reshape" and moved.is_whole:
        each = positions[0].reshape(view.shape[0], -1)
        whole_channels = each[:, :1] // view.pixels * view.pixels + in_order(view.pixels)
        if np.array_equal(each, whole_channels):
            moved = whole_of(reader, reader.map(node, moved))
    reader.put(node, moved)


def read_reshape(reader: Reader, node: NodeProto) -> None:
    view, asked = reader.view(node), [int(each) for each in reader.constant(node, 1).reshape(-1)]
    keeps_zero = bool(attributes(node).get("allowzero", 0))
    old = view.positions.shape
    shape = [
        old[axis] if length == 0 and not keeps_zero and axis < len(old) else length
        for axis, length in enumerate(asked)
    ]
    try:
        positions = view.positions.reshape(shape)
    except ValueError:
        reader.fails(
            node,
            f"gives shape {asked} to a value of shape {list(old)}; the file was "
            "made for another input size: say it with --input-shape",
        )
    put_positions(reader, node, view, positions)


def read_flatten(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    axis = int(attributes(node).get("axis", 1)) % (view.positions.ndim + 1)
    rows = int(np.prod(view.positions.shape[:axis]))
    reader.put(node, view.moved(view.positions.reshape(rows, -1)))


def read_transpose(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    axes = attributes(node).get("perm") or tuple(range(view.positions.ndim))[::-1]
    reader.put(node, view.moved(view.positions.transpose(*axes)))


def axes_of(reader: Reader, node: NodeProto, rank: int) -> list[int]:
    """Returns the axes that a node names, from 0 on."""
    given = reader.optional(node, 1)
    axes = attributes(node).get("axes") if given is None else given.reshape(-1)
    return [int(axis) % rank for axis in axes] if axes is not None else []


def read_squeeze(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    shape = view.positions.shape
    axes = axes_of(reader, node, len(shape)) or [i for i, size in enumerate(shape) if size == 1]
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    if int(np.prod(kept)) != view.positions.size:
        reader.fails(node, f"leaves out axes {axes} of a value of shape {list(shape)}")
    reader.put(node, view.moved(view.positions.reshape(kept)))


def read_unsqueeze(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    given = reader.optional(node, 1)
    axes = attributes(node).get("axes", ()) if given is None else given.reshape(-1)
    rank = view.positions.ndim + len(axes)
    if rank > MOST_AXES:
        reader.fails(node, f"makes {rank} axes; {MOST_AXES} at most are read")
    places = sorted(int(axis) % rank for axis in axes)
    reader.put(node, view.moved(np.expand_dims(view.positions, tuple(places))))


def read_slice(reader: Reader, node: NodeProto) -> None:
    view, has = reader.view(node), attributes(node)
    shape = view.positions.shape

    def numbers(index: int, name: str, default: Any) -> list[int]:  # noqa: ANN401
        given = reader.optional(node, index)
        return [int(each) for each in (has.get(name, default) if given is None else given.ravel())]

    starts, ends = numbers(1, "starts", ()), numbers(2, "ends", ())
    axes = numbers(3, "axes", range(len(starts)))
    steps = numbers(4, "steps", (1,) * len(starts))
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        reader.fails(node, "has starts, ends, axes and steps of different lengths")
    cut = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        stop = None if step < 0 and end < -size else end
        cut[axis % len(shape)] = slice(start, stop, step)
    positions = view.positions[tuple(cut)]
    if not positions.size:
        reader.fails(node, f"leaves nothing of a value of shape {list(shape)}")
    reader.put(node, view.moved(positions))


def read_split(reader: Reader, node: NodeProto) -> None:
    view, has = reader.view(node), attributes(node)
    axis = int(has.get("axis", 0)) % view.positions.ndim
    size, given = view.positions.shape[axis], reader.optional(node, 1)
    sizes = has.get("split") if given is None else given.reshape(-1)
    if sizes is None:
        each = -(-size // len(node.output))
        sizes = [min(each, size - start) for start in range(0, size, each)]
    limits = np.cumsum([0, *(int(length) for length in sizes)])
    if limits[-1] != size or len(sizes) != len(node.output) or min(sizes) < 1:
        reader.fails(node, f"splits {size} numbers into {[int(length) for length in sizes]}")
    for index, (start, stop) in enumerate(pairwise(limits)):
        part = np.take(view.positions, np.arange(start, stop), axis)
        reader.put(node, view.moved(part), index)


def read_gather(reader: Reader, node: NodeProto) -> None:
    if reader.is_constant(node, 0):
        reader.fails(
            node,
            "looks numbers of the network up in a table: an embedding of a sequence, for which "
            "there is no operator; networks that classify pictures are read",
        )
    view, index = reader.view(node), np.asarray(reader.constant(node, 1)).astype(np.int64)
    axis = int(attributes(node).get("axis", 0)) % view.positions.ndim
    size = view.positions.shape[axis]
    if index.size and (index.min() < -size or index.max() >= size):
        reader.fails(node, f"picks number {int(index.max())} of {size}")
    reader.put(node, view.moved(np.take(view.positions, index, axis)))


def read_expand(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    shape = tuple(int(each) for each in reader.constant(node, 1).reshape(-1))
    try:
        wide = np.broadcast_shapes(view.positions.shape, shape)
    except ValueError:
        reader.fails(node, f"repeats a value of {view.positions.shape} to {shape}")
    if prod(wide) > MOST_REPEATED:
        reader.fails(node, f"repeats a value to {wide}; {MOST_REPEATED} numbers at most are read")
    reader.put(node, view.moved(np.broadcast_to(view.positions, wide)))


def read_concat(reader: Reader, node: NodeProto) -> None:
    views = [reader.view(node, index) for index in range(len(node.input))]
    axis = int(attributes(node)["axis"]) % views[0].positions.ndim
    if len(views) == 1:
        reader.put(node, views[0])
        return
    same_map = all(view.map == views[0].map for view in views)
    if same_map:
        joined = views[0].moved(np.concatenate([view.positions for view in views], axis))
        if joined.is_whole and is_map(
            joined
        ):  # a map that was taken apart and is put together again
            put_positions(reader, node, views[0], joined.positions)
            return
    shape = list(views[0].positions.shape)
    if all(view.positions.size == view.positions.shape[axis] for view in views):
        # Vectors, each of some pixel-less map.
        if any(view.pixels > 1 for view in views):
            reader.fails(node, "joins maps that were flattened, which mixes channels and pixels")
        vectors = [view.moved(view.positions.reshape(1, -1)) for view in views]
        name = reader.add(node, ops.Concat(), *(reader.map(node, view) for view in vectors))
        shape[axis] = reader.draft.shape(name)[0]
        reader.put(node, whole_of(reader, name, tuple(shape)))
        return
    turns = {(4, 3): (CHANNELS_FIRST, CHANNELS_LAST), (4, 1): (KEPT, KEPT), (3, 1): (ROW, ROW)}
    if (len(shape), axis) not in turns:
        reader.fails(node, f"joins values along axis {axis}, and only channels are joined here")
    there, back = turns[len(shape), axis]
    turned = [view.moved(view.positions.transpose(there)) for view in views]
    made = reader.add(node, ops.Concat(), *(reader.map(node, view) for view in turned))
    channels, height, width = reader.draft.shape(made)
    first = (1, channels, width) if len(shape) == 3 else (1, channels, height, width)
    result = whole_of(reader, made, first)
    reader.put(node, result.moved(result.positions.transpose(back)))


def read_pad(reader: Reader, node: NodeProto) -> None:
    view, has = reader.view(node), attributes(node)
    rank, given = view.positions.ndim, reader.optional(node, 1)
    pads = [int(each) for each in (has.get("pads", ()) if given is None else given.ravel())]
    value = reader.optional(node, 2)
    constant = float(has.get("value", 0.0)) if value is None else float(value.reshape(-1)[0])
    mode, axes = has.get("mode", "constant"), list(range(rank))
    if reader.has(node, 3):
        axes = [int(axis) % rank for axis in reader.constant(node, 3).reshape(-1)]
    count = len(axes)
    if len(pads) != 2 * count:
        reader.fails(node, f"has {len(pads)} pads for {count} axes")
    if mode != "constant" or (constant != 0 and any(pads)):
        filled = f"by {constant:g}" if mode == "constant" else f"by {mode}"
        reader.fails(node, f"fills the border {filled}; zeros alone are filled in here")
    positions = view.positions
    if max(map(abs, pads), default=0) > MOST_PADDING:
        reader.fails(node, f"has pads {pads}; {MOST_PADDING} at most are read")
    for axis, before, after in zip(axes, pads[:count], pads[count:], strict=True):
        stop = positions.shape[axis] + min(after, 0)
        positions = np.take(positions, np.arange(max(-before, 0), max(stop, 0)), axis)
        widths = [(0, 0)] * rank
        widths[axis] = (max(before, 0), max(after, 0))
        positions = np.pad(positions, widths, constant_values=ZERO)
    if not positions.size:
        reader.fails(node, "leaves nothing of its map")
    reader.put(node, view.moved(positions))
