"""Tolerance: a network run with some of its codes moved, to see how far its outputs move by that.

Right files of a low-bit network differ about as little; ``onnx.parity`` has the rule.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from latency_models.onnx.parity import FEW, MANY, ROUNDED_BIASES, Bounds, bounds_of
from nas.data.tensors import TensorSplit
from nas.nn.interpreter import from_model
from nas.nn.layers import Context
from nas.nn.quantized_layers import quantize
from nas.training.accuracy import logits
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Quantize

RUNS = 2  # of each sort
BITS_OF_ROUNDED_BIASES = 8


def has_codes(graph: Graph) -> bool:
    """Whether some map of a network is coded."""
    return any(isinstance(node.operator, Quantize) for node in graph.nodes)


def nudged_bounds(
    model: Model, split: TensorSplit, reference: Array, rounds_biases: bool
) -> Bounds:
    """Returns what the outputs of a right file may differ by from ``reference``.

    Args:
        model: The network as trained, whose maps are coded.
        reference: Its outputs for all images of ``split``.
        rounds_biases: Whether the file has integer biases.
    """
    shift = 2 * ROUNDED_BIASES if rounds_biases else 0.0
    few, many = (
        [nudged_logits(model, split, share, shift, seed) for seed in range(RUNS)]
        for share in (FEW, MANY)
    )
    return bounds_of(reference, few, many)


def nudged_logits(
    model: Model, split: TensorSplit, share: float, shift: float, seed: int
) -> Array:
    """Returns a network's outputs with some codes moved.

    Args:
        share: Of the codes of each map, to be moved up or down by one.
        shift: What each channel of an 8-bit map is moved by before it is quantized, up or down,
            as a share of the step.
    """
    generator = torch.Generator(split.device).manual_seed(seed)
    quantizers = (node for node in model.graph.nodes if isinstance(node.operator, Quantize))
    layers = {node.name: nudging(share, shift, generator) for node in quantizers}
    return logits(from_model(model, layers).to(split.device), split).cpu().numpy()


def nudging(
    share: float, shift: float, generator: torch.Generator
) -> Callable[[Quantize, Context, Tensor], Tensor]:
    """Returns a quantizer that moves codes; those at an end of their range stay within it."""
    signs: list[Tensor] = []  # the direction of each channel, the same for all images

    def draw(shape: tuple[int, ...], x: Tensor) -> Tensor:
        return torch.rand(shape, generator=generator, device=x.device)

    def run(op: Quantize, context: Context, x: Tensor) -> Tensor:
        if op.bits == BITS_OF_ROUNDED_BIASES:
            if not signs:
                signs.append(draw((x.shape[1], 1, 1), x).sub(0.5).sign())
            x = x + shift * context.arrays["step"] * signs[0]
        codes = quantize(op, context, x)
        drawn = draw(tuple(codes.shape), x)
        if op.bits == 1:
            return torch.where(drawn < share, -codes, codes)
        step = context.arrays["step"]
        moves = (drawn < share).to(codes.dtype) - 2 * (drawn < share / 2).to(codes.dtype)
        return (codes + moves * step).clamp(op.lowest * step, op.highest * step)

    return run
