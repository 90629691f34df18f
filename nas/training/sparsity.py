"""Sparse training: an L1 penalty on the scales of batch norms, so that idle channels show.

*Source:* Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV
2017, https://arxiv.org/abs/1708.06519, section 3, equation 1: the loss has ``norm_l1`` times the
sum of ``|gamma|`` over all batch norms added to it, whose subgradient is ``norm_l1 * sign(gamma)``
and 0 where a scale is 0.

*Differs from the paper:* scales have no weight decay, as norms have none here; all are penalised,
those before a sum of shortcuts too, since what hangs together is pruned together.

With SGD the penalty moves a scale by ``learning_rate * norm_l1`` a step, as in the paper, whose
1e-4 to 1e-5 are for hundreds of epochs; few epochs need more. AdamW divides gradients by their
size, so there a scale that the loss hardly moves falls by up to the learning rate a step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.nn.interpreter import Interpreter
from search_spaces.graphs.graph import Graph

SCALE = "norm.weight"


def scale_names(graph: Graph) -> tuple[str, ...]:
    """Returns the names of the arrays that hold scales of batch norms, in the graph's order."""
    shapes = (
        (node.name, node.operator.array_shapes(*graph.input_shapes(node))) for node in graph.nodes
    )
    return tuple(f"{name}.{SCALE}" for name, arrays in shapes if SCALE in arrays)


def norm_scales(module: Interpreter) -> list[nn.Parameter]:
    """Returns the scales of every batch norm of the module, ``(C,)`` each."""
    parameters = dict(module.named_parameters())
    return [parameters[name] for name in scale_names(module.graph)]


def total_size(scales: Sequence[Tensor]) -> Tensor:
    """Returns the sum of the absolute values; its gradient is 0 where a scale is 0."""
    return torch.cat(list(scales)).abs().sum()
