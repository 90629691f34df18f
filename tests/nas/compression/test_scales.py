"""The weight of the penalty is the least that could move so many scales to zero."""

from dataclasses import replace

import numpy as np
import pytest

from nas.compression.scales import first_weight, histogram, scale_sizes, small_share
from nas.data.tensors import TensorSplit
from nas.problem.training_config import TrainingConfig
from search_spaces.graphs.model import Model, random_model
from tests.nas.parts.compressions import shortcut_net

SGD = TrainingConfig(epochs=4, optimizer="sgd", learning_rate=0.1, cosine=False, warmup_epochs=0)


@pytest.fixture
def model() -> Model:
    return random_model(shortcut_net(), np.random.default_rng(0))


def test_sgd_moves_the_quantile_of_the_scales_to_zero(
    model: Model, digits_split: TensorSplit
) -> None:
    found = first_weight(model, digits_split, SGD, 0.5)

    steps = 4 * -(-len(digits_split) // SGD.batch_size)
    moved = found * steps * 0.1 / (1 - SGD.momentum)
    assert moved == pytest.approx(np.quantile(scale_sizes(model), 0.5))


def test_more_scales_and_fewer_epochs_need_a_larger_weight(
    model: Model, digits_split: TensorSplit
) -> None:
    for optimizer in ("sgd", "adamw"):
        config = replace(SGD, optimizer=optimizer, epochs=40)
        usual = first_weight(model, digits_split, config, 0.5)

        assert first_weight(model, digits_split, config, 0.8) > usual
        assert first_weight(model, digits_split, replace(config, epochs=20), 0.5) > usual


def test_small_scales_are_those_below_a_hundredth_of_the_largest() -> None:
    assert small_share(np.array([2.0, 0.021, 0.019, 0.0])) == 0.5


def test_a_histogram_counts_every_scale_once(model: Model) -> None:
    sizes = scale_sizes(model)

    found = histogram(sizes)

    assert sum(found.counts) == len(sizes) == 32
    assert len(found.edges) == len(found.counts) + 1
