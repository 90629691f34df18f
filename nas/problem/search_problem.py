"""Setting: the data, the space and the baselines that a configuration means, loaded once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from nas.data.class_weights import class_weights
from nas.data.sources.registry import load, make_source
from nas.data.splits import Splits, normalized_by, split
from nas.data.tensors import TensorSplits, place, training_device
from nas.nn.half import half_type
from nas.problem.records import BaselineConfig, DataConfig, RunConfig
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.precision import FP32, get_precision
from search_spaces.networks import get_network
from search_spaces.quantization.reprecision import uniform
from search_spaces.space.architecture import graph_hash
from search_spaces.space.fit import fit
from search_spaces.space.space import Architecture
from search_spaces.space.staged import StagedSpace


@dataclass(frozen=True, slots=True)
class Examples:
    """Images to train on, to choose by and to test with.

    Attributes:
        tensors: The splits on the training device.
        notes: What of the data was left out or taken otherwise than it stands, one line each.
    """

    splits: Splits
    tensors: TensorSplits
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search works on.

    Attributes:
        space: The space for the channels and classes of the data.
        tensors: The splits on the training device.
        baselines: The published networks to start from, by name; those inside the space with
            genes.
        teacher: What all trainings learn from; None where the configuration names none.
        trained: Baselines whose weights are given, by the hash of their graph.
        notes: What of the data was left out or taken otherwise than it stands, one line each.
    """

    splits: Splits
    tensors: TensorSplits
    space: StagedSpace
    baselines: Mapping[str, Architecture]
    notes: tuple[str, ...] = ()
    teacher: Model | None = None
    trained: Mapping[str, Model] = field(default_factory=dict)

    @property
    def examples(self) -> Examples:
        return Examples(self.splits, self.tensors, self.notes)

    @property
    def baseline_hashes(self) -> frozenset[str]:
        """Hashes of the baselines' graphs: what is compared with is trained to the end."""
        return frozenset(graph_hash(network.graph) for network in self.baselines.values())


def load_setting(config: RunConfig) -> Setting:
    """Loads the data and fits the space to it.

    Trained networks that the configuration names, as its teacher or as baselines, are left out:
    `nas.models.given.setting.load_whole_setting` reads them too.

    Raises:
        UserError: If the data cannot be read or split, or a baseline cannot have the resolution
            or width that it is to have.
    """
    device = training_device(config.training.device)
    half_type(device, config.training.mixed_precision)  # is there, before anything is loaded
    torch.set_num_threads(1)  # small networks lose by more, and one thread repeats exactly
    side = max(config.space.resolutions)
    splits, notes = load_splits(config.data, (side, side))
    train = splits.train
    space = space_for(config, train.image_shape[0], train.num_classes)
    check_weights(config, splits)
    return Setting(
        splits,
        place(splits, device),
        space,
        {
            baseline_name(item): baseline(item, space)
            for item in config.baselines
            if item.model is None
        },
        notes,
    )


def load_splits(data: DataConfig, size: tuple[int, int]) -> tuple[Splits, tuple[str, ...]]:
    """Returns the splits that a configuration means, and what of the data is otherwise.

    Args:
        size: Height and width of pictures that have several sizes, where the data says none.

    Raises:
        UserError: If the data cannot be read or split.
    """
    found = load(make_source(data.kind, **data.settings), size)
    splits = split(
        found.data,
        found.test,
        found.validation,
        seed=data.seed,
        validation=data.validation,
        test=data.test,
        train=data.train,
    )
    given = data.normalization
    return splits if given is None else normalized_by(splits, given), found.notes


def check_weights(config: RunConfig, splits: Splits) -> None:
    """Raises:
    UserError: If the recipe weighs classes that the data has not.
    """
    train = splits.train
    sizes = np.bincount(train.labels, minlength=train.num_classes)
    class_weights(config.training.class_weights, train.class_names, sizes)


def space_for(config: RunConfig, in_channels: int, num_classes: int) -> StagedSpace:
    return replace(config.space, in_channels=in_channels, num_classes=num_classes)


def baseline(item: BaselineConfig, space: StagedSpace) -> Architecture:
    resolution = item.resolution or max(space.resolutions)
    assert item.network is not None
    try:
        graph = get_network(item.network)(
            width=item.width,
            resolution=resolution,
            num_classes=space.num_classes,
            in_channels=space.in_channels,
        )
        if item.precision != FP32.name:
            graph = uniform(graph, get_precision(item.precision))
    except ValueError as error:
        raise UserError(
            f"baseline {baseline_name(item)} at resolution {resolution}: {error}"
        ) from None
    found = fit(space, graph)
    return found or Architecture(baseline_name(item), (), graph)


def baseline_name(item: BaselineConfig) -> str:
    """
    >>> baseline_name(BaselineConfig("mobilenet_v2", 0.5, 16, "w8a8"))
    'mobilenet_v2 x0.5 @16 w8a8'
    """
    width = "" if item.width == 1 else f" x{item.width:g}"
    resolution = f" @{item.resolution}" if item.resolution else ""
    precision = "" if item.precision == FP32.name else f" {item.precision}"
    return f"{item.network}{width}{resolution}{precision}"
