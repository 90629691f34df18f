"""Slices: networks cut out of shared weights, with batch norms of their own.

*Source:* statistics of batch norms are found anew for each slice, as in Yu et al., "BigNAS",
https://arxiv.org/abs/2003.11142, section 3.3, since those of one network say nothing of another.
"""

import torch

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter
from nas.training.recipe.statistics import drawn_batches, measure_norms
from nas.training.supernet.weights import SharedWeights
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
    module.eval()
    measure_norms(module, split, NORM_IMAGES, BATCH)
    return module


def tell_steps(module: Interpreter, split: TensorSplit) -> None:
    """Lets the first batch tell the steps of maps that nobody has learnt."""
    if all(quantizer.has_step for quantizer in module.quantizers()):
        return
    rows = drawn_batches(split, NORM_IMAGES, BATCH)[0]
    with torch.no_grad():
        module.train()
        module(split.inputs(rows, module.graph.input_shape))
        module.eval()
