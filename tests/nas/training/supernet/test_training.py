"""A supernet learns, goes on bit for bit where it was, loses bad steps, refuses what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.tensors import TensorSplits
from nas.problem.records import RunConfig, SupernetConfig
from nas.training.accuracy import accuracy
from nas.training.state import DamagedStateError, read_file
from nas.training.supernet.slices import sliced
from nas.training.supernet.state import SupernetState, from_bytes, read_bounded, to_bytes
from nas.training.supernet.steps import SupernetFailedError, SupernetTrainer
from nas.training.supernet.training import SupernetPlan, train_supernet
from search_spaces.graphs.errors import UserError
from search_spaces.space.staged import Stage, StagedSpace, Stem, block_option
from tests.nas.parts.tiny import tiny
from tests.nas.parts.trainings import few_digits

SPACE = StagedSpace(
    "small",
    1,
    10,
    (8,),
    (
        Stage(
            (1, 2),
            (8, 16),
            (2,),
            (
                block_option("plain", {"kernel_size": (1, 3)}),
                block_option("residual_basic", {"kernel_size": (3,)}),
            ),
            precisions=("fp32", "w4a4"),
        ),
    ),
    Stem((8,)),
    round_to=4,
)


@cache
def plan(**supernet: Any) -> SupernetPlan:  # noqa: ANN401
    torch.set_num_threads(1)
    config = tiny(training={"seed": 1}).config()
    settings = {"epochs": 3, "batch_size": 32, **supernet}
    search = replace(config.search, evaluation="supernet", supernet=SupernetConfig(**settings))
    return SupernetPlan(SPACE, few_digits(), replace(config, search=search))


def with_data(change: Callable[[TensorSplits], TensorSplits]) -> SupernetPlan:
    return SupernetPlan(SPACE, change(plan().data), plan().config)


def with_config(change: Callable[[RunConfig], RunConfig]) -> SupernetPlan:
    return SupernetPlan(SPACE, plan().data, change(plan().config))


@cache
def trained() -> SupernetState:
    return train_supernet(plan(), clock=lambda: 0.0)


def test_training_that_is_taken_up_after_any_epoch_ends_as_if_it_never_stopped() -> None:
    states: list[bytes] = []
    train_supernet(
        plan(), on_state=lambda make: states.append(to_bytes(make(), plan().belongs)), clock=zero
    )
    for content in states:
        state = from_bytes(content, plan().store, plan().belongs)
        ended = train_supernet(plan(), state, clock=zero)
        assert digest(ended) == digest(trained())
    assert len(states) == 3


def digest(state: SupernetState) -> str:
    """Over every array and all that is said of them; the file's header has no fixed order."""
    return read_file(to_bytes(state, plan().belongs))[1]["digest"]


def zero() -> float:
    return 0.0


def test_slices_of_a_trained_supernet_know_more_than_chance() -> None:
    longer = plan(epochs=40, learning_rate=0.01)
    state = train_supernet(longer)
    weights = longer.weights(state.arrays)
    found = [
        accuracy(sliced(weights, each, longer.data.train), longer.data.train)
        for each in longer.ends
    ]

    assert found[0] > 0.5
    assert state.epochs[-1].largest_loss < state.epochs[0].largest_loss / 2


def test_a_training_that_may_not_go_on_keeps_what_it_needs_to() -> None:
    state = train_supernet(plan(), may_go_on=lambda: False, clock=zero)

    assert len(state.epochs) == 1
    assert state.moments
    assert not trained().moments


class Broken(SupernetTrainer):
    """Sees NaN in some steps."""

    bad: frozenset[int] = frozenset()
    seen = 0

    def batch(self, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        inputs, labels = super().batch(*given)
        self.seen += 1
        return (inputs * float("nan") if self.seen in self.bad else inputs), labels


def broken(bad: set[int]) -> Broken:
    of = plan(epochs=3, batch_size=4)
    weights, config = of.weights(), of.config
    trainer = Broken(
        weights, SPACE, of.extremes, of.data.train, config.training, config.search.supernet, ready
    )
    trainer.bad = frozenset(bad)
    return trainer


def ready() -> None:
    """For trainings that wait for nothing."""


def test_a_step_of_nan_is_lost_and_counted_and_moves_nothing() -> None:
    trainer = broken({1})
    before = {key: p.detach().clone() for key, p in trainer.weights.parameters.items()}
    assert trainer.run_step(torch.arange(4), 0.01) is None
    moved = [k for k, p in trainer.weights.parameters.items() if not torch.equal(p, before[k])]
    told = [key for key in moved if not trainer.weights.store.roles[key].is_step]

    assert told == []
    assert broken({2}).run_epoch(0).dropped == 1


def test_too_many_steps_of_nan_end_it_with_one_line() -> None:
    with pytest.raises(SupernetFailedError, match=r"lower search\.supernet\.learning_rate") as e:
        broken(set(range(100))).run_epoch(0)
    assert "\n" not in str(e.value)


def test_a_supernet_of_another_space_data_or_recipe_is_refused() -> None:
    content = to_bytes(trained(), plan().belongs)
    stages = (replace(SPACE.stages[0], widths=(8, 24)),)
    others = {
        "space": SupernetPlan(replace(SPACE, stages=stages), plan().data, plan().config),
        "data": with_data(lambda data: replace(data, train=data.train.take(slice(90)))),
        "recipe": with_config(
            lambda config: replace(config, training=replace(config.training, seed=2))
        ),
    }
    for what, other in others.items():
        with pytest.raises(DamagedStateError, match=f"same {what}") as caught:
            from_bytes(content, other.store, other.belongs)
        assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_in_one_line() -> None:
    content = bytearray(to_bytes(trained(), plan().belongs))
    rng = np.random.default_rng(0)
    for _ in range(30):
        wrong = bytearray(content)
        wrong[rng.integers(len(wrong))] ^= 1 << int(rng.integers(8))
        with pytest.raises(DamagedStateError) as caught:
            from_bytes(bytes(wrong[: rng.integers(1, len(wrong))]), plan().store, plan().belongs)
        assert "\n" not in str(caught.value)
        with pytest.raises(DamagedStateError):
            from_bytes(bytes(wrong), plan().store, plan().belongs)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Any) -> None:  # noqa: ANN401
    file = tmp_path / "supernet.safetensors"
    with file.open("wb") as out:
        out.truncate(1 << 34)

    with pytest.raises(UserError, match="it is another file"):
        read_bounded(file, plan().store)


def test_too_many_shared_weights_are_refused_with_what_keeps_them_apart() -> None:
    with pytest.raises(UserError, match=r"most_mb .* kept apart by .*block") as caught:
        plan(most_mb=0.001).check()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"must fit in memory, .* kept apart by .*block"):
        plan().check(free=1000)
    plan().check()
