"""First weights: what training starts from where nothing is given."""

from collections.abc import Mapping
from math import pi, prod

import torch
from torch import Tensor

from nas.nn.straight_through import first_step
from search_spaces.graphs.graph import Graph, Node
from search_spaces.quantization.codes import coded_operator, weight_limits

LAST = 0.01  # deviation of the last layer's first weights


def initialise(
    graph: Graph, arrays: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> None:
    """Draws weights that keep the maps' scale (He et al., ICCV 2015, fan-in form).

    Norms start as the identity and biases at zero. The last layer starts small, so that all
    classes start equally likely; where an activation follows it (SqueezeNet's ReLU), its bias
    starts at one, so that no class starts dead. Steps of weights are told by the weights; those of
    maps stay zero until there is a map.
    """
    shapes = {
        node.name: node.operator.array_shapes(*graph.input_shapes(node)) for node in graph.nodes
    }
    last = [node for node in graph.nodes if "weight" in shapes[node.name]][-1:]
    with torch.no_grad():
        for node in graph.nodes:
            is_last = node in last
            activated = getattr(node.operator, "activation", "none") != "none"
            for name, shape in shapes[node.name].items():
                array = arrays[f"{node.name}.{name}"]
                if name == "weight":
                    deviation = LAST if is_last else usual_deviation(node, shape)
                    array.normal_(0, deviation, generator=generator)
                elif name == "weight.step":
                    array.copy_(weight_steps(node, arrays[f"{node.name}.weight"], is_last))
                elif name in ("norm.weight", "norm.variance", "gain"):
                    array.fill_(1)
                else:
                    array.fill_(1 if name == "bias" and is_last and activated else 0)


def usual_deviation(node: Node, weight_shape: tuple[int, ...]) -> float:
    activated = getattr(node.operator, "activation", "none") != "none"
    return ((2.0 if activated else 1.0) / prod(weight_shape[1:])) ** 0.5


def weight_steps(node: Node, weight: Tensor, will_grow: bool) -> Tensor:
    """Returns a first step for each output channel.

    Weights that start smaller than usual will grow, and their steps need not grow with them.
    """
    _, highest = weight_limits(coded_operator(node).precision.weight_bits)
    mean = weight.abs().flatten(1).mean(1)
    if will_grow:
        usual = usual_deviation(node, tuple(weight.shape)) * (2 / pi) ** 0.5
        mean = mean.clamp(min=usual)
    return first_step(mean, highest)
