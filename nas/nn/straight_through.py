"""Straight-through: roundings and signs whose gradients are those of what they approximate.

Source: Esser et al., "Learned Step Size Quantization", ICLR 2020,
https://arxiv.org/abs/1902.08153, equations 1 to 5; Courbariaux et al., "Binarized Neural
Networks", NeurIPS 2016, https://arxiv.org/abs/1602.02830, equation 4 (clipped identity);
Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279, sections 3.1 and 3.2.
Differs from the papers: the gradient through the magnitude of binary weights is the whole one;
XNOR-Net's equation 12 keeps only its diagonal.

Shape letters: O output channels.
"""

from typing import Any

import torch
from torch import Tensor


class _Quantize(torch.autograd.Function):
    """``step * clip(round(x / step), lowest, highest)``, halves to even."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch's own, untyped)
        x: Tensor,
        step: Tensor,
        lowest: int,
        highest: int,
        gradient_scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.limits = lowest, highest
        ctx.gradient_scale = gradient_scale
        return in_steps(x, step).round_().clamp_(lowest, highest).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,) = gradients
        x, step = ctx.saved_tensors
        lowest, highest = ctx.limits
        ratio = in_steps(x, step)
        inside = (ratio > lowest) & (ratio < highest)
        slope = ratio.round().clamp_(lowest, highest).sub_(ratio.mul_(inside)).mul_(gradient)
        of_step = slope.sum_to_size(step.shape) * ctx.gradient_scale
        return gradient * inside, of_step, None, None, None


def in_steps(x: Tensor, step: Tensor) -> Tensor:
    """Returns ``x / step`` as it is deployed, in a new tensor.

    Kernels multiply a map by the inverse of its one step; weights are divided, once and for all.
    """
    if step.dim() == 0:
        return x * inverse(step)
    return x / step


def inverse(step: Tensor) -> Tensor:
    """Returns ``1 / step``, rounded to float32 once."""
    return step.detach().double().reciprocal().float()


def quantized(x: Tensor, step: Tensor, lowest: int, highest: int, numbers: int) -> Tensor:
    """Returns ``x`` on the grid of a learned step.

    Gradients reach ``x`` where it is strictly between the limits, and the step by equation 3,
    times ``1 / sqrt(numbers * highest)``.

    Args:
        step: ``()`` for a map, or ``(O, 1, ...)`` for weights.
        numbers: How many of an image's numbers, or of a channel's weights, share one step.
    """
    scale = (numbers * highest) ** -0.5
    found: Tensor = _Quantize.apply(x, step, lowest, highest, scale)  # type: ignore[no-untyped-call]
    return found


def first_step(mean: Tensor, highest: int) -> Tensor:
    """Returns the step to start from, for numbers of this mean magnitude."""
    return 2 * mean / highest**0.5


class _Sign(torch.autograd.Function):
    """+1 where ``x >= 0``, else -1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x.abs() <= 1)
        return (x >= 0).to(x.dtype).mul_(2).sub_(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside


def sign(x: Tensor) -> Tensor:
    """Returns the signs of ``x``, zero counting as positive; gradients pass where |x| <= 1."""
    signs: Tensor = _Sign.apply(x)  # type: ignore[no-untyped-call]
    return signs


def mean_magnitude(weight: Tensor) -> Tensor:
    """Returns the mean of |w| of each output channel, ``(O, 1, ...)``, rounded once."""
    each = tuple(range(1, weight.dim()))
    return weight.abs().double().mean(each, keepdim=True).float()
