"""Pooling: torch's, and what it does not have, windows of uneven or wide padding.

Shape letters: B batch, C channels, H and W spatial size.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nas.nn.convolution import padded
from search_spaces.graphs import operators as ops

INFINITY = float("inf")


def max_pool(op: ops.MaxPool, x: Tensor) -> Tensor:
    """Returns the largest value of each window of ``x``, ``(B, C, H, W)``."""
    if is_torchs(op):
        return functional.max_pool2d(
            x, op.kernel_size, op.stride, op.padding, ceil_mode=op.ceil_mode
        )
    x = padded(x, op.padding, reached(op, x), -INFINITY)
    return functional.max_pool2d(x, op.kernel_size, op.stride)


def avg_pool(op: ops.AvgPool, x: Tensor) -> Tensor:
    """Returns the mean of each window of ``x``, ``(B, C, H, W)``."""
    if is_torchs(op):
        return functional.avg_pool2d(
            x, op.kernel_size, op.stride, op.padding, op.ceil_mode, op.count_include_pad
        )
    wide = padded(x, op.padding, reached(op, x))
    sums = functional.avg_pool2d(wide, op.kernel_size, op.stride, divisor_override=1)
    return sums / counts(op, x)


def is_torchs(op: ops.MaxPool | ops.AvgPool) -> bool:
    """Whether torch has the padding: as wide on each side, and at most half of the window."""
    halves = zip(op.padding, op.kernel_size, strict=True)
    return op.end_pads == op.padding and all(2 * pad <= kernel for pad, kernel in halves)


def shapes(op: ops.MaxPool | ops.AvgPool, x: Tensor) -> tuple[ops.Shape, ops.Shape]:
    """Returns the shape of the map, and that of what is made of it."""
    _, channels, height, width = x.shape
    shape = (channels, height, width)
    return shape, op.output_shape(shape)


def reached(op: ops.MaxPool | ops.AvgPool, x: Tensor) -> ops.Size:
    """Returns the rows and columns that windows reach beyond a map, below and right."""
    shape, output = shapes(op, x)
    sizes, number = (shape[1], shape[2]), (output[1], output[2])
    down, right = ops.window_ends(sizes, number, op.kernel_size, op.stride, op.padding)
    return max(0, down), max(0, right)


def counts(op: ops.AvgPool, x: Tensor) -> Tensor:
    """Returns how many numbers each mean is over: ``(H, W)`` of the means."""
    shape, output = shapes(op, x)
    before, after = op.counted(shape, output) or (op.padding, reached(op, x))
    along = []
    for axis in (0, 1):
        starts = torch.arange(output[1 + axis], device=x.device) * op.stride[axis]
        starts = starts - op.padding[axis]
        ends = (starts + op.kernel_size[axis]).clamp(max=shape[1 + axis] + after[axis])
        along.append(ends - starts.clamp(min=-before[axis]))
    return along[0][:, None] * along[1]
