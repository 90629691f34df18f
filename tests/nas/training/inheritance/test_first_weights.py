"""What a child's training begins with fits its network, whatever its parent was."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nas.data.tensors import TensorSplits
from nas.nn.interpreter import from_model
from nas.problem.records import Inherit
from nas.problem.training_config import TrainingConfig
from nas.training.inheritance.first_weights import Parent, first_weights, shortened
from nas.training.loop import train
from search_spaces.graphs.model import Model
from search_spaces.quantization.codes import check_steps
from search_spaces.space.space import sample
from search_spaces.space.staged import Stage, StagedSpace, Stem, block_option
from tests.nas.parts.trainings import few_digits

BLOCKS = ("plain", "residual_basic", "inverted_residual", "shuffle_v2", "ghost", "fire", "skip")
SPACE = StagedSpace(
    "mixed",
    in_channels=1,
    num_classes=10,
    resolutions=(8,),
    round_to=32,
    stem=Stem(widths=(32,), precisions=("fp32", "w8a8")),
    stages=(
        Stage(
            (1, 2, 3),
            (32, 64),
            (1, 2),
            tuple(map(block_option, BLOCKS)),
            (0.0, 0.5),
            ("fp32", "w8a8", "w4a4", "w2a2", "bwn", "xnor"),
        ),
    ),
)
RECIPE = TrainingConfig(epochs=10, batch_size=32, warmup_epochs=2, fp32_epochs=3, device="cpu")


@pytest.fixture(scope="module")
def few() -> TensorSplits:
    return few_digits()


def test_the_schedule_of_a_child_is_the_whole_one_in_fewer_epochs() -> None:
    short = shortened(RECIPE, Inherit(epochs=0.3))

    assert (short.epochs, short.warmup_epochs, short.fp32_epochs) == (3, 0.6, 0)
    assert replace(short, epochs=10, warmup_epochs=2, fp32_epochs=3) == RECIPE
    assert shortened(RECIPE, Inherit(epochs=0.01)).epochs == 1


@pytest.mark.parametrize("seed", range(4))
def test_children_of_any_precision_train_on_from_parents_of_any(
    seed: int, few: TensorSplits
) -> None:
    random = Random(seed)
    child, other = sample(SPACE, random), sample(SPACE, random)
    one = replace(RECIPE, epochs=1, warmup_epochs=0, fp32_epochs=0)
    parent = Parent(other, train(other.graph, few, one).model.arrays)

    arrays = first_weights(child, parent, few.train, one)

    check_steps(Model(child.graph, arrays))
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert train(child.graph, few, one, arrays=arrays).finished


def test_a_network_begins_as_its_own_twin_left_off(few: TensorSplits) -> None:
    architecture = sample(SPACE, Random(2))
    one = replace(RECIPE, epochs=1, warmup_epochs=0, fp32_epochs=0)
    trained = train(architecture.graph, few, one).model

    arrays = first_weights(architecture, Parent(architecture, trained.arrays), few.train, one)

    assert arrays.keys() == trained.arrays.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in trained.arrays.items())
    from_model(Model(architecture.graph, arrays))
