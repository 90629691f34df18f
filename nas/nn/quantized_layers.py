"""Quantized layers: quantizers, and layers whose weights are codes, in training and as deployed.

In training, maps and weights are real numbers on their grids, gradients pass straight through
(``straight_through``) and batch norm stands where it is. A deployed layer (norm "folded") computes
as its kernel does: whole numbers are multiplied and added, then each operation is one of float32,
in the order of scale, magnitude map, bias, activation.

Quantizers work in float32 under autocast too. There, coded layers multiply whole numbers, which 16
bits hold exactly, instead of their multiples by a step.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from nas.nn.activations import TORCH_ACTIVATIONS
from nas.nn.convolution import convolved
from nas.nn.layers import Arrays, Context, activated, batch_norm
from nas.nn.straight_through import first_step, inverse, mean_magnitude, quantized, sign
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Conv2d, Linear, Quantize
from search_spaces.quantization.codes import weight_limits


class NoRangeError(UserError):
    """Numbers to quantize that have no range, or none that float32 can divide."""


def quantize(op: Quantize, context: Context, x: Tensor) -> Tensor:
    """Returns the numbers that the codes of a map stand for."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        if op.bits == 1:
            return sign(normalised(op, context, x))
        step = context.arrays["step"]
        if not context.arrays.has_step:
            set_first_step(op, context, x)
        return quantized(x, step, op.lowest, op.highest, x[0].numel())


def normalised(op: Quantize, context: Context, x: Tensor) -> Tensor:
    if op.norm == "batch":
        return batch_norm(context, x)
    if op.norm == "folded":
        return x * each(context.arrays["gain"]) + each(context.arrays["bias"])
    return x


def set_first_step(op: Quantize, context: Context, x: Tensor) -> None:
    """Sets the step by the first batch seen in training."""
    if not context.training:
        raise UserError(
            f"{context.name}: the step of a quantizer must be known before it is used, and it is "
            "not; train the network, calibrate it, or load its arrays"
        )
    with torch.no_grad():
        step = first_step(x.abs().mean(), op.highest)
        check_range(context.name, float(step))
        context.arrays["step"].copy_(step)
    context.arrays.has_step = True


def check_range(name: str, step: float) -> None:
    if not 0 < step < float("inf"):
        raise NoRangeError(
            f"{name}: the map to quantize must have a range, got numbers that are all zero or not "
            f"finite (step {step:.3g}) in the first batch; a layer before it is dead: start from "
            "other weights, or keep this layer at fp32"
        )


def coded_conv2d(
    op: Conv2d, context: Context, x: Tensor, magnitude: Tensor | None = None
) -> Tensor:
    def product(x: Tensor, weight: Tensor) -> Tensor:
        return convolved(op, x, weight, None, -1.0 if op.precision.activations == "sign" else 0.0)

    return coded(op, context, x, product, magnitude)


def coded_linear(op: Linear, context: Context, x: Tensor) -> Tensor:
    def product(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x.flatten(1), weight)[:, :, None, None]

    return coded(op, context, x, product, None)


Product = Callable[[Tensor, Tensor], Tensor]


def coded(
    op: Conv2d | Linear, context: Context, x: Tensor, product: Product, magnitude: Tensor | None
) -> Tensor:
    """Returns what a layer with coded weights makes of ``x``.

    Args:
        product: The convolution or matrix product itself.
        magnitude: The map K of XNOR-Net, ``(B, 1, H, W)``.
    """
    if op.norm == "folded":
        return deployed(op, context, x, product, magnitude)
    if torch.is_autocast_enabled(x.device.type):
        y = product_of_codes(op, context, x, product)
    else:
        y = product(x, weight_on_grid(op, context.arrays))
    if magnitude is not None:
        y = y * magnitude
    if op.bias:
        y = y + each(context.arrays["bias"])
    if op.norm == "batch":
        y = batch_norm(context, y)
    return activated(op, y)


def weight_on_grid(op: Conv2d | Linear, arrays: Arrays) -> Tensor:
    """Returns the numbers that the codes of the weights stand for."""
    weight = arrays["weight"]
    if op.precision.weights == "sign":
        return sign(weight) * mean_magnitude(weight)
    low, high = weight_limits(op.precision.weight_bits)
    return quantized(weight, weight_step(arrays), low, high, weight[0].numel())


def weight_step(arrays: Arrays) -> Tensor:
    step = arrays.child("weight")["step"]
    return step.reshape(-1, *(1,) * (arrays["weight"].dim() - 1))


def product_of_codes(op: Conv2d | Linear, context: Context, x: Tensor, product: Product) -> Tensor:
    """Returns the product of maps and weights on their grids, from that of whole numbers."""
    arrays = context.arrays
    if op.precision.weights == "sign":
        codes, scale = sign(arrays["weight"]), mean_magnitude(arrays["weight"])
    else:
        scale = weight_step(arrays).detach()
        codes = weight_on_grid(op, arrays) / scale
    if context.quantizer is not None:
        step = context.quantizer["step"].detach()
        x, scale = x * inverse(step), scale * step
    y = product(x, codes)
    return (y * each(scale.flatten())).to(y.dtype)


def deployed(
    op: Conv2d | Linear, context: Context, x: Tensor, product: Product, magnitude: Tensor | None
) -> Tensor:
    """Returns what the layer's kernel computes; no gradient comes through."""
    arrays, quantizer = context.arrays, context.quantizer
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        x, codes = x.float(), weight_codes(op, arrays)
        scale = weight_scale(op, arrays).double() * arrays["gain"].double()
        if quantizer is not None:
            x = (x * inverse(quantizer["step"])).round_()
            scale = scale * quantizer["step"].double()
        y = product(x, codes) * each(scale.float())
        if magnitude is not None:
            y = y * magnitude
        return TORCH_ACTIVATIONS[op.activation].as_kernel(y + each(arrays["bias"]))


def weight_codes(op: Conv2d | Linear, arrays: Arrays) -> Tensor:
    """Returns the weights as whole numbers."""
    weight = arrays["weight"]
    if op.precision.weights == "sign":
        return sign(weight)
    low, high = weight_limits(op.precision.weight_bits)
    return (weight / weight_step(arrays)).round_().clamp_(low, high)


def weight_scale(op: Conv2d | Linear, arrays: Arrays) -> Tensor:
    """Returns what one code of each output channel counts, ``(O,)``."""
    if op.precision.weights == "sign":
        return mean_magnitude(arrays["weight"]).flatten()
    return arrays.child("weight")["step"]


def each(values: Tensor) -> Tensor:
    """Returns one number per channel as it meets a map."""
    return values[:, None, None]
