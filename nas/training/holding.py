"""Holding: what weights that were pruned or shared keep to, while all else is trained.

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, section 3.3,
figure 3: the gradients of all weights that share a value are summed, and the sum moves that value;
section 2 and "Learning both Weights and Connections", NIPS 2015, https://arxiv.org/abs/1506.02626,
section 3: pruned connections stay away while the others are trained on.

Nothing beside the weights says what is held: zeros are found as exact zeros, shared weights as
equal numbers of a layer, anew before each epoch, so that a training that is taken up from its
weights holds the same. Biases, norms and steps are free. Of layers whose weights are integer codes
only zeros are held; signs have none.

Each member gets the sum of its group's gradients, so weights, momentum and second moments of the
members are equal, as those of one number would be; after each step all are set to the first
member, so that no order of rounding parts them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nas.nn.interpreter import Interpreter
from nas.problem.training_config import Hold, TrainingConfig
from search_spaces.compression.sharing import MOST_BITS, is_shared
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.quantization.codes import is_coded
from search_spaces.quantization.reprecision import layers

HoldAs = Literal["auto", "none", "zeros", "shared"]
MOST_SHARED = 1 << MOST_BITS  # values of a layer; one with more is not shared


def hold_of(model: Model) -> Hold:
    """Returns what a training must hold for a network to stay what it is.

    Layers whose weights are codes say nothing: their zeros are values like others.
    """
    nodes = (model.graph.node(name) for name in layers(model.graph))
    weights = [model.arrays[f"{node.name}.weight"] for node in nodes if not is_coded(node)]
    if any(map(is_shared, weights)):
        return "shared"
    return "zeros" if any((weight == 0).any() for weight in weights) else "none"


def to_hold(config: TrainingConfig, model: Model, hold: HoldAs = "auto") -> TrainingConfig:
    """Returns a recipe that holds what it is told to, for a training from a model's weights.

    Args:
        hold: "auto" holds what the recipe says, and where it says nothing what the model is.
    """
    if hold == "auto":
        hold = hold_of(model) if config.hold == "none" else config.hold
    return replace(config, hold=hold)


@dataclass(frozen=True, slots=True)
class Zeros:
    """The weights of a layer that stay zero.

    Attributes:
        at: Of the weight's shape, true where it is zero.
    """

    weight: Tensor
    at: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> "Zeros":
        return cls(weight, weight.detach() == 0)

    def hold_gradient(self) -> None:
        if self.weight.grad is not None:
            self.weight.grad.masked_fill_(self.at, 0)

    def hold_weight(self) -> None:
        self.weight.masked_fill_(self.at, 0)


@dataclass(frozen=True, slots=True)
class Groups:
    """The weights of a layer that move together, group by group; those at zero do not move.

    Attributes:
        of: The group of each weight, in the weight's shape.
        first: ``(groups,)``, where the first member of each is in the flat weight.
        zero: ``(groups,)``, true for the group at zero.
    """

    weight: Tensor
    of: Tensor
    first: Tensor
    zero: Tensor

    def hold_gradient(self) -> None:
        gradient = self.weight.grad
        if gradient is None:
            return
        sums = gradient.new_zeros(len(self.first))
        sums.index_add_(0, self.of.flatten(), gradient.flatten())
        gradient.copy_(sums.masked_fill_(self.zero, 0)[self.of])

    def hold_weight(self) -> None:
        values = self.weight.detach().flatten()[self.first].masked_fill_(self.zero, 0)
        self.weight.copy_(values[self.of])


def held(weight: Tensor, hold: Hold) -> Zeros | Groups:
    """Returns what a layer's weights keep to, by what they are now."""
    if hold == "shared":
        values, of = torch.unique(weight.detach(), return_inverse=True)
        if len(values) <= MOST_SHARED:
            flat = of.flatten()
            places = torch.arange(len(flat), device=flat.device)
            first = places.new_full((len(values),), len(flat))
            first.scatter_reduce_(0, flat, places, "amin")
            return Groups(weight, of, first, values == 0)
    return Zeros.of(weight)


@dataclass(slots=True)
class Holding:
    """What a module holds while it is trained; nothing until `find` has looked."""

    module: Interpreter
    hold: Hold
    weights: list[Zeros | Groups] = field(default_factory=list, init=False)

    @torch.no_grad()
    def find(self) -> None:
        """Looks at what the weights are."""
        self.weights = []
        for name in layers(self.module.graph) if self.hold != "none" else ():
            node = self.module.graph.node(name)
            assert isinstance(node.operator, Conv2d | Linear)
            if node.operator.precision.weights != "sign":
                hold: Hold = "zeros" if is_coded(node) else self.hold
                self.weights.append(held(self.module.below(name)["weight"], hold))

    @torch.no_grad()
    def hold_gradients(self) -> None:
        """To be called between the gradients and the step of the optimizer."""
        for each in self.weights:
            each.hold_gradient()

    def moving(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """Returns the gradients of all that moves, that of weights that share a value once."""
        groups = {id(each.weight): each for each in self.weights if isinstance(each, Groups)}
        pairs = ((groups.get(id(each)), each.grad) for each in parameters)
        return [
            gradient if group is None else gradient.flatten()[group.first]
            for group, gradient in pairs
            if gradient is not None
        ]

    @torch.no_grad()
    def hold_weights(self) -> None:
        """To be called after the step."""
        for each in self.weights:
            each.hold_weight()
