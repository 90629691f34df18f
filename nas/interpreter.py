"""Interpreter: a graph as a PyTorch module, node by node.

It trains networks, and it is the truth that every other back end is checked against. Parameters
and buffers carry the names of the graph's arrays, so ``state_dict`` and the arrays of a
``Model`` are the same thing.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.errors import UnsupportedOperatorError
from search_spaces.graph import INPUT, Graph, Node
from search_spaces.model import NORM_EPSILON, Array, Model
from search_spaces.operators import (
    Activate,
    Activation,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Operator,
    Scale,
)
from search_spaces.precision import FP32

STATISTICS = ("mean", "variance")  # arrays that training measures and no gradient changes


class Arrays(nn.Module):
    """The arrays of one node, and below it those of the nodes whose names begin with its name."""

    def child(self, name: str) -> "Arrays":
        """Returns what is held under ``name``, an empty holder where nothing is yet."""
        if name not in self._modules:
            # Not add_module: it refuses a node that is called like a method, such as "half".
            self._modules[name] = Arrays()
        child = self._modules[name]
        assert isinstance(child, Arrays)
        return child

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
        norm_momentum: Weight of the newest batch in the running statistics.
    """

    arrays: Arrays
    training: bool
    norm_momentum: float


@dataclass(frozen=True, slots=True)
class Step:
    """One node ready to run; ``last_read`` names the maps that nobody reads after it."""

    node: Node
    layer: Callable[..., Tensor]
    arrays: Arrays
    last_read: tuple[str, ...]


class Interpreter(Arrays):
    """Runs the nodes of ``graph`` in order.

    Args:
        generator: Where the first weights come from; None takes torch's own.

    Raises:
        UnsupportedOperatorError: If the graph has an operator or a precision that torch training
            does not run; the message names the node.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        norm_momentum: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.norm_momentum = norm_momentum
        for name, shape in graph.array_shapes().items():
            *path, array = name.split(".")
            holder: Arrays = self
            for part in path:
                holder = holder.child(part)
            holder.register(array, shape)
        self._steps = self._plan()
        initialise(self, generator)

    def _plan(self) -> tuple[Step, ...]:
        last_reader = {name: nodes[-1] for name, nodes in self.graph.consumers.items() if nodes}
        steps = []
        for node in self.graph.nodes:
            holder: Arrays = self
            if node.operator.array_shapes(*self.graph.input_shapes(node)):
                for part in node.name.split("."):
                    holder = holder.child(part)
            done = tuple(name for name in dict.fromkeys(node.inputs) if last_reader[name] is node)
            steps.append(Step(node, layer_of(node), holder, done))
        return tuple(steps)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, H, W)`` to the output map; one of size 1x1 comes as ``(B, C)``."""
        return self.run(x)[self.graph.output.name]

    def run(self, x: Tensor, *, keep_maps: bool = False) -> dict[str, Tensor]:
        """Returns the maps by node name: all of them, or those that nobody reads.

        A map is let go after its last reader, so memory holds what is still to be read.
        """
        maps = {INPUT: x}
        for step in self._steps:
            node = step.node
            context = Context(step.arrays, self.training, self.norm_momentum)
            maps[node.name] = step.layer(
                node.operator, context, *(maps[name] for name in node.inputs)
            )
            if not keep_maps:
                for name in step.last_read:
                    del maps[name]
        output = self.graph.output
        if output.shape[1:] == (1, 1):
            maps[output.name] = maps[output.name].flatten(1)
        return maps


def conv2d(op: Conv2d, context: Context, x: Tensor) -> Tensor:
    arrays = context.arrays
    x = functional.conv2d(
        x,
        arrays["weight"],
        arrays["bias"] if op.bias else None,
        stride=op.stride,
        padding=op.pads,
        dilation=op.dilation,
        groups=op.groups,
    )
    if op.norm == "batch":
        x = batch_norm(context, x)
    return activate_in_place(op.activation, x)


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


def linear(op: Linear, context: Context, x: Tensor) -> Tensor:
    arrays = context.arrays
    x = functional.linear(x.flatten(1), arrays["weight"], arrays["bias"] if op.bias else None)
    return activate_in_place(op.activation, x)[:, :, None, None]


def add(op: Add, context: Context, x: Tensor, y: Tensor) -> Tensor:
    return activate_in_place(op.activation, x + y)


def concat(op: Concat, context: Context, *inputs: Tensor) -> Tensor:
    return activate_in_place(op.activation, torch.cat(inputs, dim=1))


def channel_split(op: ChannelSplit, context: Context, x: Tensor) -> Tensor:
    return x[:, op.start : op.stop]


def channel_shuffle(op: ChannelShuffle, context: Context, x: Tensor) -> Tensor:
    return torch.channel_shuffle(x, op.groups)


def scale(op: Scale, context: Context, x: Tensor, gate: Tensor) -> Tensor:
    return x * gate


def activate(op: Activate, context: Context, x: Tensor) -> Tensor:
    return ACTIVATION_LAYERS[op.activation](x)


def max_pool(op: MaxPool, context: Context, x: Tensor) -> Tensor:
    return functional.max_pool2d(x, op.kernel_size, op.stride, op.padding, ceil_mode=op.ceil_mode)


def avg_pool(op: AvgPool, context: Context, x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, op.kernel_size, op.stride, op.padding, count_include_pad=True)


def global_avg_pool(op: GlobalAvgPool, context: Context, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def dropout(op: Dropout, context: Context, x: Tensor) -> Tensor:
    return functional.dropout(x, op.rate, training=context.training)


LAYERS: dict[type[Operator], Callable[..., Tensor]] = {
    Conv2d: conv2d,
    Linear: linear,
    Add: add,
    Concat: concat,
    ChannelSplit: channel_split,
    ChannelShuffle: channel_shuffle,
    Scale: scale,
    Activate: activate,
    MaxPool: max_pool,
    AvgPool: avg_pool,
    GlobalAvgPool: global_avg_pool,
    Dropout: dropout,
}

ACTIVATION_LAYERS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
}


def activate_in_place(activation: Activation, x: Tensor) -> Tensor:
    """Returns the activated map; ``x`` must be one that nothing else reads.

    Only where the gradient does not need the map before the activation is its memory reused.
    """
    if activation == "relu":
        return functional.relu(x, inplace=True)
    return ACTIVATION_LAYERS[activation](x)


def layer_of(node: Node) -> Callable[..., Tensor]:
    operator = node.operator
    if type(operator) not in LAYERS:
        raise UnsupportedOperatorError(
            f"{node.name}: torch training has no operator {type(operator).__name__}; it has "
            f"{', '.join(kind.__name__ for kind in LAYERS)}"
        )
    precision = getattr(operator, "precision", FP32)
    if precision != FP32:
        raise UnsupportedOperatorError(
            f"{node.name}: torch training runs precision fp32 only, got {precision}; let the "
            "space choose fp32 alone"
        )
    return LAYERS[type(operator)]


def initialise(module: Interpreter, generator: torch.Generator | None = None) -> None:
    """Draws weights that keep the maps' scale (He et al., ICCV 2015, fan-in form).

    Norms start as the identity and biases at zero. The last layer starts small, so that all
    classes start equally likely; where an activation follows it (SqueezeNet's ReLU), its bias
    starts at one, so that no class starts dead.
    """
    graph, arrays = module.graph, module.state_dict(keep_vars=True)
    shapes = {
        node.name: node.operator.array_shapes(*graph.input_shapes(node)) for node in graph.nodes
    }
    weighted = [node for node in graph.nodes if shapes[node.name]]
    with torch.no_grad():
        for node in weighted:
            is_last = node is weighted[-1]
            activated = getattr(node.operator, "activation", "none") != "none"
            for name, shape in shapes[node.name].items():
                array = arrays[f"{node.name}.{name}"]
                if name == "weight":
                    gain = 2.0 if activated else 1.0
                    deviation = 0.01 if is_last else (gain / prod(shape[1:])) ** 0.5
                    array.normal_(0, deviation, generator=generator)
                elif name in ("norm.weight", "norm.variance"):
                    array.fill_(1)
                else:
                    array.fill_(1 if name == "bias" and is_last and activated else 0)


def model_arrays(module: Interpreter) -> dict[str, Array]:
    """Returns the module's arrays as float32 numpy copies, by the graph's names."""
    return {
        name: np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")
        for name, tensor in module.state_dict().items()
    }


def load_arrays(module: Interpreter, arrays: Mapping[str, Array]) -> None:
    """Copies ``arrays`` into the module.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape than the graph says.
    """
    model = Model(module.graph, arrays)  # states the rule about names and shapes
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(model.arrays[name])))


def to_model(module: Interpreter) -> Model:
    """Returns the graph with the module's arrays."""
    return Model(module.graph, model_arrays(module))


def from_model(model: Model) -> Interpreter:
    """Returns a module in evaluation mode that holds the model's arrays."""
    module = Interpreter(model.graph)
    load_arrays(module, model.arrays)
    return module.eval()
