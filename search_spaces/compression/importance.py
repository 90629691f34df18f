"""Importance: how much each unit of channels is worth.

A criterion gives a number to every channel of some layers; the channels of a unit go together, so
their numbers become one:

* ``norm_scale``: |scale| of the batch norm behind a layer (Liu et al., "Learning Efficient
  Convolutional Networks through Network Slimming", ICCV 2017, https://arxiv.org/abs/1708.06519).
  Normed maps have unit variance, so scales of different layers compare as they are; tied channels
  count by their mean, as the sum would call every residual stage important for its depth alone.
* ``l1``, ``l2``: norm of the filter that makes a channel (Li et al., "Pruning Filters for
  Efficient ConvNets", ICLR 2017, https://arxiv.org/abs/1608.08710). Filters of different layers
  have different sizes, so each layer's norms are divided by their mean before tied ones are
  averaged. A filter of one channel (depthwise) only passes on what others made, and counts not.
* ``taylor``: given by name, estimates of what the loss would change without each channel
  (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
  https://arxiv.org/abs/1906.10771). They are losses already: tied ones add up.

Differs from the papers: Liu et al. and Li et al. prune channels that shortcuts tie by leaving
layers out or selecting channels by index; here they are scored together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from search_spaces.compression.channels import ChannelGroup
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear

Numbers = NDArray[np.float64]
Scores = Mapping[str, Numbers]
Combine = Literal["mean", "sum", "max"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """How channels are scored.

    Attributes:
        of_channels: The score of each channel (C,) of the layers that have one; None where
            scores are given.
        combine: What becomes of the scores of channels that go together.
        relative: Whether a layer's scores are divided by their mean before.
    """

    of_channels: Callable[[Model], Scores] | None
    combine: Combine
    relative: bool


def norm_scales(model: Model) -> Scores:
    """Returns |scale| of each batch norm, by node."""
    return {
        node.name: np.abs(model.arrays[f"{node.name}.norm.weight"].astype(np.float64))
        for node in model.graph.nodes
        if f"{node.name}.norm.weight" in model.arrays
    }


def filter_norms(model: Model, order: int) -> Scores:
    """Returns the norm of each filter of the layers that mix channels, by node."""
    norms = {}
    for node in model.graph.nodes:
        if not isinstance(node.operator, Conv2d | Linear):
            continue
        weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
        if getattr(node.operator, "groups", 1) == 1 or weight.shape[1] > 1:
            norms[node.name] = np.linalg.norm(weight.reshape(len(weight), -1), order, axis=1)
    return norms


CRITERIA: dict[str, Criterion] = {
    "norm_scale": Criterion(norm_scales, "mean", relative=False),
    "l1": Criterion(lambda model: filter_norms(model, 1), "mean", relative=True),
    "l2": Criterion(lambda model: filter_norms(model, 2), "mean", relative=True),
    "taylor": Criterion(None, "sum", relative=False),
}


def importance(
    model: Model,
    groups: tuple[ChannelGroup, ...],
    criterion: str,
    given: Scores | None = None,
    combine: Combine | None = None,
) -> dict[str, Numbers]:
    """Returns the score of each unit, by the name of its group; the least is worth least.

    Groups none of whose layers the criterion scores are left out.

    Args:
        given: Scores of channels by node, for a criterion that takes them.
        combine: What becomes of the scores of tied channels, in place of the criterion's own.

    Raises:
        UserError: If the criterion is unknown, lacks its scores, is not finite, or scores nothing.
    """
    if criterion not in CRITERIA:
        known = ", ".join(CRITERIA)
        raise UserError(f"unknown importance {criterion!r}; known: {known}")
    how = CRITERIA[criterion]
    if (how.of_channels is None) != (given is not None):
        wants = "needs scores by layer" if given is None else "takes no scores"
        raise UserError(f"importance {criterion!r} {wants}; those that measure take them: taylor")
    of_channels = given if how.of_channels is None else how.of_channels(model)
    assert of_channels is not None
    scores = unit_scores(groups, of_channels, combine or how.combine, how.relative)
    if not scores:
        remedy = "; use l1 or l2, which need none" if criterion == "norm_scale" else ""
        missing = "a batch norm" if criterion == "norm_scale" else "a score"
        raise UserError(
            f"no layer whose channels could go has {missing} to rank them by {criterion}{remedy}"
        )
    return scores


def unit_scores(
    groups: tuple[ChannelGroup, ...], of_channels: Scores, combine: Combine, relative: bool
) -> dict[str, Numbers]:
    """Returns the score of each unit of the groups that have any, from those of channels (C,).

    Raises:
        UserError: If a score is not finite.
    """
    if combine not in get_args(Combine):
        raise UserError(f"combine must be one of {', '.join(get_args(Combine))}, got {combine!r}")
    for name, each in of_channels.items():
        if not np.isfinite(each).all():
            raise UserError(
                f"{name}: an importance is not a finite number; its weights are broken"
            )
    scores = {}
    for group in groups:
        members = [
            (relative_to_mean(of_channels[name]) if relative else of_channels[name])[
                np.array(channels)
            ]
            for name, channels in group.maps.items()
            if name in of_channels
        ]
        if members:
            together = np.concatenate(members, axis=1)  # (units, channels of each)
            scores[group.name] = getattr(np, combine)(together, axis=1)
    return scores


def relative_to_mean(scores: Numbers) -> Numbers:
    mean = scores.mean()
    return scores / mean if mean else scores
