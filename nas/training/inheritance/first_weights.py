"""First weights: those of a child, from its parent's, and the recipe that trains it from there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from nas.data.tensors import TensorSplit
from nas.nn.first_steps import with_first_steps
from nas.nn.interpreter import Interpreter, model_arrays
from nas.problem.records import Inherit
from nas.problem.training_config import TrainingConfig
from search_spaces.graphs.model import Array
from search_spaces.inheritance.inheriting import Kinship
from search_spaces.space.space import Architecture


@dataclass(frozen=True, slots=True)
class Parent:
    """A trained network that others may inherit from."""

    architecture: Architecture
    arrays: Mapping[str, Array]


def shortened(recipe: TrainingConfig, rule: Inherit) -> TrainingConfig:
    """Returns the recipe of networks that inherit: the same schedule in fewer epochs.

    They need no epochs in float32 before those that count.
    """
    epochs = rule.epochs_of(recipe.epochs)
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return replace(recipe, epochs=epochs, warmup_epochs=warmup, fp32_epochs=0)


def first_weights(
    child: Architecture, parent: Parent, split: TensorSplit, recipe: TrainingConfig
) -> Mapping[str, Array]:
    """Returns the arrays that a child's training begins with.

    What it does not inherit is drawn as for a training from nothing. Steps that it does not
    inherit are told by the weights, and by what the first images make of the maps.

    Args:
        split: What it is trained on.

    Raises:
        NoRangeError: If a map that is to be quantized is all zeros.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    first = model_arrays(Interpreter(child.graph, generator=generator))
    inherited = Kinship(child, parent.architecture).arrays(first, parent.arrays)
    if not inherited.unset:
        return inherited.arrays
    count = min(recipe.batch_size, len(split))
    rows = torch.arange(count, device=split.device) * len(split) // count
    images = split.inputs(rows, child.graph.input_shape)
    return with_first_steps(child.graph, inherited.arrays, inherited.unset, images)
