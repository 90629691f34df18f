"""Layers: what each operator does to torch maps, in real numbers.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.nn.activations import TORCH_ACTIVATIONS
from nas.nn.convolution import convolved
from nas.nn.pooling import avg_pool, max_pool
from search_spaces.graphs import operators as ops
from search_spaces.graphs.model import NORM_EPSILON

STATISTICS = ("mean", "variance")  # arrays that training measures and no gradient changes


class Arrays(nn.Module):
    """The arrays of one node, and below it those of the nodes whose names begin with its name.

    Attributes:
        has_step: Whether the step of a quantizer is known; its first training batch tells it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.has_step = True

    def child(self, name: str) -> "Arrays":
        """Returns what is held under ``name``, an empty holder where nothing is yet."""
        if name not in self._modules:
            # Not add_module: it refuses a node that is called like a method, such as "half", and
            # an array that belongs to another, such as the step of a weight.
            self._modules[name] = Arrays()
        child = self._modules[name]
        assert isinstance(child, Arrays)
        return child

    def below(self, path: str) -> "Arrays":
        """Returns what is held under a dotted path."""
        holder = self
        for part in path.split("."):
            holder = holder.child(part)
        return holder

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._buffers[name] if name in STATISTICS else self._parameters[name]
        assert tensor is not None
        return tensor

    def register(self, name: str, shape: tuple[int, ...]) -> None:
        if name in STATISTICS:
            self.register_buffer(name, torch.empty(shape))
        else:
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))


@dataclass(frozen=True, slots=True)
class Context:
    """What a layer needs besides its inputs.

    Attributes:
        name: The node's, for messages.
        norm_momentum: Weight of the newest batch in the running statistics.
        quantizer: Arrays of the quantizer whose integer codes the node reads, if it does.
    """

    name: str
    arrays: Arrays
    training: bool
    norm_momentum: float
    quantizer: Arrays | None = None


def conv2d(op: ops.Conv2d, context: Context, x: Tensor) -> Tensor:
    arrays = context.arrays
    x = convolved(op, x, arrays["weight"], arrays["bias"] if op.bias else None)
    if op.norm == "batch":
        x = batch_norm(context, x)
    return activated(op, x)


Activated = ops.Conv2d | ops.Linear | ops.Add | ops.Concat | ops.BatchNorm


def activated(op: Activated, x: Tensor) -> Tensor:
    """Returns what an operator's activation makes of a map that nothing else reads."""
    return TORCH_ACTIVATIONS[op.activation].of_owned(x)


def batch_norm_alone(op: ops.BatchNorm, context: Context, x: Tensor) -> Tensor:
    if op.norm == "batch":
        return activated(op, batch_norm(context, x))
    gain, bias = (context.arrays[name][:, None, None] for name in ops.FOLDED_ARRAYS)
    return TORCH_ACTIVATIONS[op.activation].as_kernel(x * gain + bias)


def layer_norm(op: ops.LayerNorm, context: Context, x: Tensor) -> Tensor:
    gain, bias = (context.arrays[name] for name in ops.FOLDED_ARRAYS)
    last = x.permute(0, 2, 3, 1)
    return functional.layer_norm(last, gain.shape, gain, bias, op.epsilon).permute(0, 3, 1, 2)


def batch_norm(context: Context, x: Tensor) -> Tensor:
    norm = context.arrays.child("norm")
    return functional.batch_norm(
        x,
        norm["mean"],
        norm["variance"],
        norm["weight"],
        norm["bias"],
        training=context.training,
        momentum=context.norm_momentum,
        eps=NORM_EPSILON,
    )


def linear(op: ops.Linear, context: Context, x: Tensor) -> Tensor:
    arrays = context.arrays
    x = functional.linear(x.flatten(1), arrays["weight"], arrays["bias"] if op.bias else None)
    return activated(op, x)[:, :, None, None]


def magnitude(op: ops.Magnitude, context: Context, x: Tensor) -> Tensor:
    x = x.detach()  # a factor, not a path: with its gradient, networks learn worse
    return x.abs().mean(1, keepdim=True)


REAL_LAYERS: dict[type[ops.Operator], Callable[..., Tensor]] = {
    ops.Conv2d: conv2d,
    ops.Linear: linear,
    ops.Add: lambda op, _, x, y: activated(op, x + y),
    ops.Concat: lambda op, _, *maps: activated(op, torch.cat(maps, dim=1)),
    ops.ChannelSplit: lambda op, _, x: x[:, op.start : op.stop],
    ops.ChannelShuffle: lambda op, _, x: torch.channel_shuffle(x, op.groups),
    ops.Scale: lambda op, _, x, gate: x * gate,
    ops.Activate: lambda op, _, x: TORCH_ACTIVATIONS[op.activation].of(x),
    ops.MaxPool: lambda op, _, x: max_pool(op, x),
    ops.AvgPool: lambda op, _, x: avg_pool(op, x),
    ops.GlobalAvgPool: lambda op, _, x: x.mean((2, 3), keepdim=True),
    ops.Dropout: lambda op, context, x: functional.dropout(x, op.rate, training=context.training),
    ops.Magnitude: magnitude,
    ops.BatchNorm: batch_norm_alone,
    ops.LayerNorm: layer_norm,
    ops.LocalResponseNorm: lambda op, _, x: functional.local_response_norm(
        x, op.size, op.alpha, op.beta, op.k
    ),
}
