"""Windows: convolutions and pools, and the zeros around what they read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from latency_models.onnx.drafts.pieces import Border
from latency_models.onnx.drafts.views import MapView
from latency_models.onnx.reading.codes import coded_weight
from latency_models.onnx.reading.reader import Reader, attributes, whole_of
from search_spaces.graphs import operators as ops
from search_spaces.graphs.precision import FP32, W8A8


@dataclass(frozen=True, slots=True)
class Window:
    """What convolutions and pools say of their windows; of a sequence, as of a row of pixels.

    Attributes:
        begin, end: Padding above and left, below and right.
    """

    kernel: ops.Size
    stride: ops.Size
    dilation: ops.Size
    begin: ops.Size
    end: ops.Size


def window_of(
    reader: Reader, node: NodeProto, size: ops.Size, kernel: Sequence[int], is_row: bool
) -> Window:
    """Returns the windows of a node on maps of a size (H, W)."""
    has, axes = attributes(node), 1 if is_row else 2

    def pair(name: str, default: int) -> ops.Size:
        given = [int(each) for each in has.get(name, (default,) * axes)]
        if len(given) != axes or min(given) < 1:
            reader.fails(node, f"has {name} {given}; one number of at least 1 an axis is needed")
        return (1, given[0]) if is_row else (given[0], given[1])

    taps = (1, int(kernel[0])) if is_row else (int(kernel[0]), int(kernel[1]))
    stride, dilation = pair("strides", 1), pair("dilations", 1)
    spans = [step * (tap - 1) + 1 for tap, step in zip(taps, dilation, strict=True)]
    auto = has.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        wanted = [
            max((-(-length // step) - 1) * step + span - length, 0)
            for length, step, span in zip(size, stride, spans, strict=True)
        ]
        small = [each // 2 for each in wanted]
        large = [each - part for each, part in zip(wanted, small, strict=True)]
        first, last = (small, large) if auto == "SAME_UPPER" else (large, small)
    else:
        pads = [int(each) for each in has.get("pads", (0,) * 2 * axes)] if auto != "VALID" else []
        pads = pads or [0] * 2 * axes
        if len(pads) != 2 * axes or min(pads) < 0:
            reader.fails(node, f"has pads {pads}; two numbers of at least 0 an axis are needed")
        first, last = ([0, *pads[:1]], [0, *pads[1:]]) if is_row else (pads[:2], pads[2:])
    return Window(taps, stride, dilation, (first[0], first[1]), (last[0], last[1]))


def read_conv(reader: Reader, node: NodeProto) -> None:
    view, weight = reader.view(node), np.asarray(reader.constant(node, 1))
    if weight.ndim not in (3, 4):
        reader.fails(node, f"has weights of {weight.ndim} axes; 3 or 4 are read")
    source = reader.map(node, view)
    channels, height, width = reader.draft.shape(source)
    window = window_of(reader, node, (height, width), weight.shape[2:], weight.ndim == 3)
    groups = int(attributes(node).get("group", 1))
    weight = weight.reshape(*weight.shape[:2], *window.kernel)
    if groups < 1 or weight.shape[1] * groups != channels or len(weight) % groups:
        reader.fails(
            node,
            f"has weights of shape {list(weight.shape)} in {groups} groups, which do not fit the "
            f"{channels} channels it reads",
        )
    bias = reader.optional(node, 2)
    coded = coded_weight(reader, node, 1, source)
    if coded is not None:
        arrays = coded.arrays(weight, bias)
    else:
        arrays = {"weight": weight} | ({} if bias is None else {"bias": bias.reshape(-1)})
    operator = ops.Conv2d(
        len(weight),
        window.kernel,
        window.stride,
        usual_padding(window),
        window.dilation,
        groups,
        norm="none" if coded is None else "folded",
        bias="bias" in arrays and coded is None,
        activation="none",
        precision=FP32 if coded is None else W8A8,
    )
    if window.begin != window.end:
        border = Border(*window.begin, *window.end)
        source = reader.add(node, border, source, is_result=False)
    put_map(reader, node, reader.add(node, operator, source, arrays=arrays), view)


def usual_padding(window: Window) -> ops.Size | None:
    """Returns the padding that a convolution has itself; that of another border comes before."""
    if window.begin != window.end:
        return 0, 0
    is_usual = window.begin == ops.Conv2d(1, window.kernel, dilation=window.dilation).pads
    return None if is_usual else window.begin


def read_max_pool(reader: Reader, node: NodeProto) -> None:
    if len(node.output) > 1 and node.output[1]:
        reader.fails(node, "gives the places of its maxima too, which only unpooling reads")
    read_pool(reader, node, "max")


def read_average_pool(reader: Reader, node: NodeProto) -> None:
    read_pool(reader, node, "average")


def read_pool(reader: Reader, node: NodeProto, kind: str) -> None:
    view = reader.view(node)
    source = reader.map(node, view)
    _, height, width = reader.draft.shape(source)
    has = attributes(node)
    kernel = has.get("kernel_shape", ())
    if len(kernel) != view.positions.ndim - 2:
        reader.fails(node, f"has a kernel of {list(kernel)}; one number an axis is needed")
    window = window_of(reader, node, (height, width), kernel, len(kernel) == 1)
    if window.dilation != (1, 1):
        reader.fails(node, f"has dilation {window.dilation}; pools here have none")
    if window.kernel == (height, width) and window.begin == window.end == (0, 0):
        operator: Any = ops.GlobalAvgPool()
        if kind == "max":
            operator = ops.MaxPool(window.kernel, (1, 1))
    else:
        operator = pool(kind, window, bool(has.get("ceil_mode", 0)), has)
    put_map(reader, node, reader.add(node, operator, source), view)


def pool(kind: str, window: Window, ceil_mode: bool, has: Mapping[str, Any]) -> ops.Operator:
    end = None if window.end == window.begin else window.end
    if kind == "max":
        return ops.MaxPool(window.kernel, window.stride, window.begin, ceil_mode, end_padding=end)
    is_padded = any(window.begin + window.end) or ceil_mode
    counts = not is_padded or bool(has.get("count_include_pad", 0))
    return ops.AvgPool(window.kernel, window.stride, window.begin, ceil_mode, counts, end)


def read_global_pool(reader: Reader, node: NodeProto) -> None:
    view = reader.view(node)
    source = reader.map(node, view)
    operator: Any = ops.GlobalAvgPool()
    if node.op_type == "GlobalMaxPool":
        operator = ops.MaxPool(reader.draft.shape(source)[1:], (1, 1))
    put_map(reader, node, reader.add(node, operator, source), view)


def put_map(reader: Reader, node: NodeProto, name: str, read: MapView) -> None:
    """Makes a map the node's result, with as many axes as what the node read."""
    channels, height, width = reader.draft.shape(name)
    shape = (1, channels, width) if read.positions.ndim == 3 else (1, channels, height, width)
    reader.put(node, whole_of(reader, name, shape))
