"""Slices: networks cut out of shared weights, with batch norms of their own.

*Source:* statistics of batch norms are found anew for each slice, as in Yu et al., "BigNAS",
https://arxiv.org/abs/2003.11142, section 3.3, since those of one network say nothing of another.
"""

from math import ceil

import torch
from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter
from nas.training.supernet.weights import SharedWeights
from search_spaces.graphs.operators import Dropout
from search_spaces.space.space import Architecture

NORM_IMAGES = 1024  # of the training split, for the statistics of a slice
BATCH = 128


def sliced(weights: SharedWeights, architecture: Architecture, split: TensorSplit) -> Interpreter:
    """Returns a network with its slice of the shared weights, in evaluation mode.

    Args:
        split: Images for the statistics of its batch norms, and for steps nobody has learnt.

    Raises:
        NoSharedWeightsError: If the weights do not hold all of it.
        NoRangeError: If a map that is to be quantized is all zeros.
    """
    module = weights.module(architecture.graph, weights.windows(architecture))
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    tell_steps(module, split)
    measure_norms(module, split)
    return module


def batches(split: TensorSplit) -> tuple[Tensor, ...]:
    """Returns rows of training images, drawn alike every time, in batches of nearly equal size."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(split), generator=generator)[:NORM_IMAGES].to(split.device)
    return rows.tensor_split(ceil(len(rows) / BATCH))


def measure_norms(module: Interpreter, split: TensorSplit) -> None:
    """Takes statistics of batch norms from training images, every batch counting the same."""
    nodes = module.graph.nodes
    names = {node.name for node in nodes if not isinstance(node.operator, Dropout)}
    module.eval()
    with torch.no_grad():
        for index, rows in enumerate(batches(split)):
            module.norm_momentum = 1 / (index + 1)
            module.run(split.inputs(rows, module.graph.input_shape), measured=names)


def tell_steps(module: Interpreter, split: TensorSplit) -> None:
    """Lets the first batch tell the steps of maps that nobody has learnt."""
    if all(quantizer.has_step for quantizer in module.quantizers()):
        return
    rows = batches(split)[0]
    with torch.no_grad():
        module.train()
        module(split.inputs(rows, module.graph.input_shape))
        module.eval()
