"""Optimizer: what changes the weights, and how fast at each step.

Source: learning rates that fall with the fan-in are those of Yang et al., "Tensor Programs V",
NeurIPS 2021, https://arxiv.org/abs/2203.03466, table 3; steps of quantizers are learnt as in Esser
et al., "Learned Step Size Quantization", ICLR 2020, https://arxiv.org/abs/1902.08153.
Differs from the papers: weights before a batch norm keep the full rate, whose scale the norm
removes; a step is multiplied by what the optimizer would add to its logarithm, so that it stays
positive and learns equally fast at every size.
"""

from collections.abc import Sequence
from math import cos, log, pi, prod
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nas.nn.interpreter import Interpreter
from nas.problem.training_config import TrainingConfig
from nas.training.recipe.muon import Muon, orthogonal_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import BatchNorm, Conv2d, LayerNorm, Linear

FULL_RATE_FAN_IN = 32
SIGN_RATE = 3.0  # of the rate: behind a sign, a weight does nothing until it turns
MUON_RATE = 4.0  # of the rate: so that one suits Muon, and AdamW beside it or instead of it
MUON_RATE_WITHOUT_NORMS = 0.4  # where nothing removes the scale of layers, they die of more
RATE_BESIDE_MUON = 0.5  # of the rate, for weights that AdamW moves there and that want less
MOST_OF_TRAINING = 8  # times a layer's training that making it orthogonal may take
LARGEST_CHANGE = log(2)  # of the logarithm of a step, in one update


def make_optimizers(
    module: Interpreter, config: TrainingConfig
) -> tuple[torch.optim.Optimizer, ...]:
    """Returns the optimizers of the configuration, each of its own part of the arrays.

    AdamW moves every weight by about the learning rate, however small the weight. Published
    networks without norms (AlexNet, VGG, SqueezeNet) die of the rate that others learn best at,
    so there it is lowered in proportion to the fan-in. Muon moves the weights of layers, and
    AdamW beside it all else.
    """
    groups: dict[tuple[float, float, int], dict[str, Any]] = {}
    steps = []
    muon_rate = MUON_RATE if has_norms(module.graph) else MUON_RATE_WITHOUT_NORMS
    for name, parameter in module.named_parameters():
        if is_step(name):
            steps.append(parameter)
        decay = config.weight_decay if is_decayed(module, name, parameter) else 0.0
        matrices = num_matrices(module.graph, name, parameter.shape, config)
        share = muon_rate if matrices else 1.0
        if not matrices and config.optimizer != "sgd":
            share = rate_share(module, name, parameter)
            if config.optimizer == "muon" and is_tender(module, name, parameter):
                share *= RATE_BESIDE_MUON
        group = groups.setdefault((decay, share, matrices), {"params": []})
        group |= {"weight_decay": decay, "rate_share": share, "matrices": matrices}
        group["params"].append(parameter)
    of_matrices = [group for group in groups.values() if group["matrices"]]
    others = [group for group in groups.values() if not group["matrices"]]
    made: list[torch.optim.Optimizer] = []
    if of_matrices:
        made.append(Muon(of_matrices, config.learning_rate, config.momentum))
    if others:
        made.append(elementwise(others, config))
    if steps:
        # AdamW's updates do not depend on a step's size, SGD's do.
        multiply(steps, made[-1], relative=config.optimizer != "sgd")
    return tuple(made)


def elementwise(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    """Returns the optimizer of what is moved number by number."""
    if config.optimizer != "sgd":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )


def num_matrices(graph: Graph, name: str, shape: Sequence[int], config: TrainingConfig) -> int:
    """Returns how many matrices Muon sees in an array; 0 for what it leaves to others.

    Networks whose maps and weights are signs (xnor) learn less by Muon; those whose weights alone
    are learn more. Weights that are held would be moved by those beside them. Wide layers of
    small maps would take many times longer to be made orthogonal than to be trained.
    """
    if config.optimizer != "muon" or config.hold != "none" or len(shape) < 2:
        return 0
    node = graph.node(name.removesuffix(".weight"))
    operator = node.operator
    if not isinstance(operator, Conv2d | Linear) or operator.precision.activations == "sign":
        return 0
    count = operator.groups if isinstance(operator, Conv2d) else 1
    of_training = 3 * config.batch_size * prod(node.shape[1:]) * prod(shape)
    return count if orthogonal_macs(shape, count) <= MOST_OF_TRAINING * of_training else 0


def is_decayed(module: Interpreter, name: str, parameter: nn.Parameter) -> bool:
    """Whether an array loses weight: none of norms, biases and steps does, nor one behind signs.

    There a smaller weight is no simpler one, only one that turns more easily.
    """
    return parameter.dim() > 1 and not is_behind_signs(module, name)


def is_behind_signs(module: Interpreter, name: str) -> bool:
    operator = module.graph.node(name.removesuffix(".weight")).operator
    return isinstance(operator, Conv2d | Linear) and operator.precision.weights == "sign"


def is_step(name: str) -> bool:
    """Whether an array is the step of a quantizer or of weights."""
    return name.rpartition(".")[2] == "step"


def multiply(
    steps: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, *, relative: bool
) -> None:
    """Makes the optimizer multiply ``steps`` by what it would add to them.

    ``s + d`` becomes ``s * exp(d)`` where updates are relative, else ``s * exp(d / s)``, which is
    the same to first order.
    """
    before = torch.empty(0)

    @torch.no_grad()
    def remember(*_: object) -> None:
        nonlocal before
        before = parameters_to_vector(steps)

    @torch.no_grad()
    def replace_sum(*_: object) -> None:
        change = parameters_to_vector(steps) - before
        if not relative:
            change /= before
        factor = change.clamp_(-LARGEST_CHANGE, LARGEST_CHANGE).exp_()
        vector_to_parameters(before * factor, steps)

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(replace_sum)


def rate_share(module: Interpreter, name: str, parameter: nn.Parameter) -> float:
    """Returns what the learning rate of an array is multiplied by."""
    shape = parameter.shape
    if len(shape) < 2:
        return 1.0
    full = SIGN_RATE if is_behind_signs(module, name) else 1.0
    if is_normed(module.graph, name.removesuffix(".weight")):
        return full
    return full * min(1.0, FULL_RATE_FAN_IN / shape[1:].numel())


def is_tender(module: Interpreter, name: str, parameter: nn.Parameter) -> bool:
    """Whether weights learn less at the rate that suits Muon: signs, and where no norm is."""
    if parameter.dim() < 2:
        return False
    return is_behind_signs(module, name) or not has_norms(module.graph)


def has_norms(graph: Graph) -> bool:
    """Whether any layer of a network is normed."""
    return any(
        isinstance(node.operator, BatchNorm | LayerNorm)
        or (isinstance(node.operator, Conv2d) and node.operator.norm == "batch")
        for node in graph.nodes
    )


def is_normed(graph: Graph, name: str) -> bool:
    """Whether a norm, its own or one behind it, removes the scale of all that a layer gives."""
    operator, readers = graph.node(name).operator, graph.consumers[name]
    if isinstance(operator, Conv2d) and operator.norm == "batch":
        return True
    return bool(readers) and all(
        isinstance(node.operator, BatchNorm | LayerNorm) for node in readers
    )


def learning_rate(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """Returns the learning rate of a step (counted from 0 over all epochs).

    It rises in a line over the warm-up, then falls to zero as half a cosine, or in a line.

    >>> config = TrainingConfig(epochs=3, learning_rate=1.0, warmup_epochs=1)
    >>> [round(learning_rate(step, 4, config), 2) for step in (0, 3, 4, 8, 11)]
    [0.25, 1.0, 1.0, 0.5, 0.04]
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if not config.cosine:
        return config.learning_rate
    rest = config.epochs * steps_per_epoch - warmup
    if config.fall == "linear":
        return config.learning_rate * (1 - (step - warmup) / rest)
    return config.learning_rate * (1 + cos(pi * (step - warmup) / rest)) / 2


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_share"]
