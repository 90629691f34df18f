"""Whitening: a first convolution that begins as the principal components of image patches.

*Source:* Page, "How to Train Your ResNet", 2019, part 8; Jordan, "94% on CIFAR-10 in 3.29 Seconds
on a Single GPU", 2024, https://arxiv.org/abs/2404.00498, section 3.2: eigenvectors of the patches'
covariance over the roots of their eigenvalues, each with both signs.

*Differs from the source:* the layer is the network's own, of any size, and is trained on; the
largest components come first, and rows keep the size of drawn ones, which a norm removes anyway.

Shape letters: P patches, C channels, H and W spatial size, O output channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter
from nas.training.recipe.statistics import drawn_batches
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.operators import Conv2d
from search_spaces.quantization.codes import is_coded

IMAGES = 512
LEAST = 1e-3  # of the largest eigenvalue, added to each


@torch.no_grad()
def whiten(module: Interpreter, split: TensorSplit) -> None:
    """Gives the convolution that reads the images its first weights; others keep theirs."""
    (rows,) = drawn_batches(split, IMAGES, IMAGES)
    inputs = split.inputs(rows, module.graph.input_shape)
    for node in module.graph.consumers[INPUT]:
        operator = node.operator
        if isinstance(operator, Conv2d) and operator.groups == 1 and not is_coded(node):
            weight = module.below(node.name)["weight"]
            found = components(inputs, operator.kernel_size, len(weight))
            size = weight[: len(found)].std()
            weight[: len(found)] = found.reshape(-1, *weight.shape[1:]) * (size / found.std())


def components(inputs: Tensor, kernel_size: tuple[int, int], most: int) -> Tensor:
    """Returns rows that whiten patches, each with its negative, ``(O, C * H * W)``."""
    patches = functional.unfold(inputs, kernel_size).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    rows = vectors.T / (values + LEAST * values[-1])[:, None].sqrt()
    largest = rows.flip(0)[: (most + 1) // 2]
    return torch.stack([largest, -largest], 1).flatten(0, 1)[:most]
