"""Statistics: the means and variances of batch norms, found anew after a network was cut.

What is cut out of a network, or approximated in it, moves the mean and the deviation of all maps
behind, and the statistics that training kept no longer say what the norms see.

*Source:* the cumulative average over all batches is that of Izmailov et al., "Averaging Weights
Leads to Wider Optima and Better Generalization", UAI 2018, https://arxiv.org/abs/1803.05407,
section 3.2 (torch's `update_bn`); that pruned networks win most back by it, Li et al., "EagleEye",
ECCV 2020, https://arxiv.org/abs/2007.02491, section 3.3.
"""

from math import ceil

import torch
from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter, from_model, to_model
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model

IMAGES = 4096  # of the training split; means of so many hardly move any more
BATCH = 128
MEAN = "norm.mean"


def norm_nodes(graph: Graph) -> frozenset[str]:
    """Returns the names of the nodes that keep statistics of a batch norm."""
    return frozenset(
        node.name
        for node in graph.nodes
        if MEAN in node.operator.array_shapes(*graph.input_shapes(node))
    )


def recomputed_norms(
    model: Model, split: TensorSplit, *, num_images: int = IMAGES, batch_size: int = BATCH
) -> Model:
    """Returns the model with the statistics of its batch norms taken from training images.

    Each is the mean over all batches, every batch counting the same; norms see their own batches
    meanwhile, as in training, and dropout is off.

    Args:
        num_images: How many, drawn over all of the split; all where there are fewer.
    """
    if not norm_nodes(model.graph):
        return model
    module = from_model(model).to(split.device)
    measure_norms(module, split, num_images, batch_size)
    return to_model(module)


@torch.no_grad()
def measure_norms(
    module: Interpreter, split: TensorSplit, num_images: int, batch_size: int
) -> None:
    """Gives a module in evaluation mode the statistics that `recomputed_norms` describes."""
    names = norm_nodes(module.graph)
    for index, rows in enumerate(drawn_batches(split, num_images, batch_size) if names else ()):
        module.norm_momentum = 1 / (index + 1)
        module.run(split.inputs(rows, module.graph.input_shape), measured=names)


def drawn_batches(split: TensorSplit, num_images: int, batch_size: int) -> tuple[Tensor, ...]:
    """Returns rows of a split in batches of nearly equal size, drawn alike every time.

    Drawn, since in the order of a folder a batch may be of one class, whose variance says little.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(split), generator=generator)[:num_images].to(split.device)
    return rows.tensor_split(ceil(len(rows) / batch_size))
