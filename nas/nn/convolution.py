"""Convolution: torch's, around what crashes in it.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from torch import Tensor
from torch.nn import functional

from search_spaces.graphs import operators as ops

FEWEST_CHANNELS = 16  # the widest vector of float32 that oneDNN pads channels to


def padded(x: Tensor, before: ops.Size, after: ops.Size, value: float = 0.0) -> Tensor:
    """Returns ``x`` with rows above and below it, and columns left and right of it."""
    return functional.pad(x, (before[1], after[1], before[0], after[0]), value=value)


def convolved(
    op: ops.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, border: float = 0.0
) -> Tensor:
    """Returns ``(B, O, H, W)``: what the operator's convolution makes of ``x``, ``(B, C, H, W)``.

    A 1x1 convolution with a stride reads every so many pixels. oneDNN (as in torch 2.13) writes
    past its buffers in the weights' gradient where such maps have fewer channels than a vector and
    lie channels-last, and the process dies. So these pixels are picked first: the same sums.

    Args:
        border: What the map is padded with.
    """
    pads = op.pads
    if op.end_pads != pads or (border and any(pads)):
        x, pads = padded(x, pads, op.end_pads, border), (0, 0)
    strided_point = op.kernel_size == (1, 1) and op.stride != (1, 1) and pads == (0, 0)
    if strided_point and op.groups == 1 and x.shape[1] < FEWEST_CHANNELS:
        picked = x[:, :, :: op.stride[0], :: op.stride[1]]
        return functional.conv2d(picked, weight, bias)
    return functional.conv2d(x, weight, bias, op.stride, pads, op.dilation, op.groups)
