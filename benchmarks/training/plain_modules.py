"""A graph as a plain torch module, of torch's own layers and a forward without any interpreter."""

from collections.abc import Mapping

import torch
from torch import fx, nn

from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Node
from search_spaces.graphs.model import NORM_EPSILON, Array, Model

Arrays = Mapping[str, Array]
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def plain_module(model: Model) -> fx.GraphModule:
    """Returns a network in float32 as people write it: convolution, norm and activation apart.

    Raises:
        UserError: If a layer is none of those that the compared networks have.
    """
    root, written = nn.Module(), fx.Graph()
    values = {INPUT: written.placeholder("x")}
    for node in model.graph.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = add(root, written, model, node, inputs)
    written.output(written.call_method("flatten", (values[model.graph.output.name], 1)))
    return fx.GraphModule(root, written)


def add(
    root: nn.Module, written: fx.Graph, model: Model, node: Node, inputs: list[fx.Node]
) -> fx.Node:
    """Writes what a node does; its layers hang below ``root``."""
    op, graph, arrays = node.operator, model.graph, model.arrays
    name = node.name.replace(".", "_")

    def layer(kind: str, module: nn.Module, x: fx.Node) -> fx.Node:
        root.add_module(f"{name}_{kind}", module)
        return written.call_module(f"{name}_{kind}", (x,))

    match op:
        case ops.Conv2d():
            channels = graph.input_shapes(node)[0][0]
            x = layer("conv", convolution(op, node.name, channels, arrays), inputs[0])
            if op.norm == "batch":
                x = layer("norm", batch_norm(f"{node.name}.norm", arrays), x)
        case ops.Linear():
            weight = arrays[f"{node.name}.weight"]
            x = written.call_method("flatten", (inputs[0], 1))
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=op.bias)
            linear.load_state_dict(state(node.name, arrays))
            return layer("linear", linear, x)
        case ops.Add():
            x = written.call_function(torch.add, tuple(inputs))
        case ops.Concat():
            x = written.call_function(torch.cat, (inputs, 1))
        case ops.ChannelSplit():
            length = op.stop - op.start
            return written.call_method("narrow", (inputs[0], 1, op.start, length))
        case ops.ChannelShuffle():
            return layer("shuffle", nn.ChannelShuffle(op.groups), inputs[0])
        case ops.MaxPool():
            pool = nn.MaxPool2d(op.kernel_size, op.stride, op.padding, ceil_mode=op.ceil_mode)
            return layer("pool", pool, inputs[0])
        case ops.GlobalAvgPool():
            return layer("pool", nn.AdaptiveAvgPool2d(1), inputs[0])
        case ops.Dropout():
            return layer("dropout", nn.Dropout(op.rate), inputs[0])
        case _:
            raise UserError(f"{node.name}: no plain layer for {type(op).__name__}")
    if op.activation == "none":
        return x
    return layer("activation", ACTIVATIONS[op.activation](inplace=True), x)


def convolution(op: ops.Conv2d, name: str, channels: int, arrays: Arrays) -> nn.Conv2d:
    made = nn.Conv2d(
        channels,
        op.out_channels,
        op.kernel_size,
        op.stride,
        op.pads,
        op.dilation,
        op.groups,
        bias=op.bias,
    )
    made.load_state_dict(state(name, arrays))
    return made


def batch_norm(name: str, arrays: Arrays) -> nn.BatchNorm2d:
    mean = torch.tensor(arrays[f"{name}.mean"])
    made = nn.BatchNorm2d(len(mean), eps=NORM_EPSILON)
    variance = torch.tensor(arrays[f"{name}.variance"])
    known = {"running_mean": mean, "running_var": variance}
    count = {"num_batches_tracked": torch.tensor(0)}
    made.load_state_dict(state(name, arrays) | known | count)
    return made


def state(name: str, arrays: Arrays) -> dict[str, torch.Tensor]:
    """Returns weight and bias of a layer, those that it has."""
    found = {each: arrays.get(f"{name}.{each}") for each in ("weight", "bias")}
    return {each: torch.tensor(array) for each, array in found.items() if array is not None}
