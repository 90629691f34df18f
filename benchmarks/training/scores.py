"""Training-free scores of networks, to hold learnt accuracies against.

*Source:* NASWOT, Mellor et al., "Neural Architecture Search without Training", ICML 2021,
https://arxiv.org/abs/2006.04647, section 3; SynFlow, Tanaka et al., "Pruning neural networks
without any data by iteratively conserving synaptic flow", NeurIPS 2020,
https://arxiv.org/abs/2006.05467, as a score of networks in Abdelfattah et al., "Zero-Cost Proxies
for Lightweight NAS", ICLR 2021, https://arxiv.org/abs/2101.08134, section 3.2.
"""

import torch
from torch import Tensor

from nas.nn.interpreter import Interpreter
from search_spaces.graphs.graph import Graph


def naswot(graph: Graph, images: Tensor, seed: int = 0) -> float:
    """Returns the log-determinant of how alike images switch the rectified units on.

    Args:
        images: Network inputs, ``(B, C, H, W)``.
    """
    module = Interpreter(graph, generator=torch.Generator().manual_seed(seed)).train()
    with torch.no_grad():
        maps = module.run(images, keep_maps=True)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)
    for node in graph.nodes:
        if getattr(node.operator, "activation", "none") == "relu":
            codes = (maps[node.name].flatten(1) > 0).double()
            kernel += codes @ codes.T + (1 - codes) @ (1 - codes).T
    return float(torch.linalg.slogdet(kernel)[1])


def synflow(graph: Graph, seed: int = 0) -> float:
    """Returns the logarithm of the sum of all weights times their gradients, weights being |w|."""
    module = Interpreter(graph, generator=torch.Generator().manual_seed(seed)).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    outputs = module(torch.ones(1, *graph.input_shape, dtype=torch.float64))
    torch.autograd.backward(outputs.sum())
    total = sum(
        float((parameter * parameter.grad).sum().detach())
        for parameter in module.parameters()
        if parameter.grad is not None
    )
    return float(torch.log(torch.tensor(total, dtype=torch.float64)))
