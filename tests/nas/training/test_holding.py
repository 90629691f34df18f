"""Zeros stay zero and shared weights move as one number, to the last bit, whatever trains them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.data.tensors import TensorSplits
from nas.nn.interpreter import Interpreter, from_model, load_arrays
from nas.problem.training_config import Hold, OptimizerName, TrainingConfig
from nas.training.holding import Groups, Holding, held, hold_of, to_hold
from nas.training.loop import Training, go_on, train
from nas.training.loss import label_loss
from nas.training.recipe.optimizer import is_decayed, learning_rate, rate_share
from nas.training.state import Recipe as StateRecipe
from nas.training.state import data_fingerprint, from_bytes, to_bytes
from nas.training.trainer import Trainer
from search_spaces.compression.sharing import share_weights
from search_spaces.compression.weight_pruning import prune_weights, real_weights
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.precision import PRECISIONS, W8A8
from search_spaces.quantization.reprecision import uniform
from tests.nas.parts.trainings import check_same, dropping_net, few_digits

BITS = {"stem": 3, "first": 3, "second": 4, "logits": 2}
RECIPE = TrainingConfig(epochs=3, batch_size=32, learning_rate=0.02, device="cpu", seed=3)


@pytest.fixture(scope="module")
def few() -> TensorSplits:
    return few_digits()


@cache
def pruned() -> Model:
    return prune_weights(random_model(dropping_net(), np.random.default_rng(0)), "ratio", 0.5)


@cache
def shared() -> Model:
    return share_weights(pruned(), BITS)


def trained(model: Model, data: TensorSplits, hold: Hold, **changes: object) -> Model:
    config = replace(RECIPE, hold=hold, **changes)  # type: ignore[arg-type]
    return train(model.graph, data, config, arrays=model.arrays).model


def partition(weight: Array) -> list[int]:
    """Returns for each weight the first one that is equal to it."""
    values, first, of = np.unique(weight, return_index=True, return_inverse=True)
    assert len(values)
    return first[of.ravel()].tolist()


def test_gradients_are_summed_by_hand() -> None:
    """Figure 3 of Han et al.: weights of one value get the sum of their gradients."""
    weight = nn.Parameter(torch.tensor([[2.0, -1, 0], [-1, 2, 0.5]]))
    weight.grad = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.6]])

    with torch.no_grad():
        held(weight, "shared").hold_gradient()

    wanted = torch.tensor([[0.6, -0.2, 0], [-0.2, 0.6, 0.6]])
    assert torch.allclose(weight.grad, wanted)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_zeros_stay_zero_and_all_else_is_trained(
    optimizer: OptimizerName, few: TensorSplits
) -> None:
    given = pruned()

    made = trained(given, few, "zeros", optimizer=optimizer, momentum=0.9, weight_decay=0.1)

    for name, weight in real_weights(given).items():
        after = made.arrays[f"{name}.weight"]
        assert np.array_equal(after == 0, weight == 0)
        assert not np.signbit(after[after == 0]).any()
        assert (after != weight)[weight != 0].mean() > 0.9
    for name, array in made.arrays.items():
        if not name.endswith(tuple(f"{layer}.weight" for layer in real_weights(given))):
            assert (array != given.arrays[name]).any(), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_shared_weights_stay_equal_and_move(optimizer: OptimizerName, few: TensorSplits) -> None:
    given = shared()

    made = trained(given, few, "shared", optimizer=optimizer, weight_decay=0.1)

    for name, weight in real_weights(given).items():
        after = made.arrays[f"{name}.weight"]
        assert partition(after) == partition(weight)
        assert np.array_equal(after == 0, weight == 0)
        assert (after != weight)[weight != 0].all()


def test_nothing_is_held_where_nothing_is_asked_for(few: TensorSplits) -> None:
    made = trained(shared(), few, "none")

    for weight in real_weights(made).values():
        assert (weight != 0).all()
        assert len(np.unique(weight)) > 0.9 * weight.size


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_shared_weights_move_as_an_explicit_codebook_does(
    optimizer: OptimizerName, clip: float | None, few: TensorSplits
) -> None:
    """The same steps, by autograd through ``codebook[index]`` and an optimizer of its own."""
    config = replace(
        *(RECIPE,), optimizer=optimizer, weight_decay=0.1, gradient_clip=clip, hold="shared"
    )
    steps = 8
    module = Interpreter(dropping_net())
    load_arrays(module, shared().arrays)
    trainer = Trainer(module.eval(), few.train, config, go_on)
    oracle = Codebooks(config)

    for step in range(steps):
        rows = torch.arange(32) + step
        trainer.rate = learning_rate(step, steps, config)
        trainer.run_step(rows)
        inputs = few.train.inputs(rows, module.graph.input_shape)
        oracle.step(inputs, few.train.labels[rows], trainer.rate)

    for name, wanted in oracle.arrays().items():
        found = dict(module.named_parameters())[name].detach()
        assert torch.allclose(found, wanted, rtol=1e-4, atol=2e-6), name
        assert (wanted - torch.from_numpy(shared().arrays[name])).abs().max() > 1e-4, name


class Codebooks:
    """A network whose weights are looked up in codebooks, which an optimizer of torch moves."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.module = from_model(shared())
        self.leaves: dict[str, Tensor] = {}
        self.index: dict[str, Tensor] = {}
        layers = [f"{name}.weight" for name in real_weights(shared())]
        for name, parameter in self.module.named_parameters():
            value = parameter.detach().clone()
            if name in layers:
                values, self.index[name] = torch.unique(value, return_inverse=True)
                value = values
            self.leaves[name] = value.requires_grad_()
        groups = [
            {
                "params": [self.leaves[name]],
                "share": rate_share(self.module, name, parameter)
                if config.optimizer == "adamw"
                else 1,
                "weight_decay": config.weight_decay
                if is_decayed(self.module, name, parameter)
                else 0,
            }
            for name, parameter in self.module.named_parameters()
        ]
        make = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[config.optimizer]
        more = {"momentum": 0.9, "nesterov": True} if config.optimizer == "sgd" else {}
        self.optimizer = make(groups, lr=config.learning_rate, **more)

    def arrays(self) -> Mapping[str, Tensor]:
        looked_up = {}
        for name, leaf in self.leaves.items():
            if name in self.index:
                # What is looked up for a zero has no gradient.
                leaf = torch.where(leaf.detach() == 0, leaf.detach(), leaf)[self.index[name]]
            looked_up[name] = leaf
        return looked_up

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> None:
        outputs = functional_call(self.module, dict(self.arrays()), (inputs,))
        self.optimizer.zero_grad()
        torch.autograd.backward(label_loss(outputs, labels, 0.0))
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.leaves.values(), self.config.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()


@pytest.mark.parametrize("hold", ["zeros", "shared"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_taken_up_after_every_epoch_holds_the_same(
    hold: Hold, optimizer: OptimizerName, few: TensorSplits
) -> None:
    config = replace(RECIPE, hold=hold, optimizer=optimizer, gradient_clip=1.0)
    recipe = StateRecipe(dropping_net(), config, data_fingerprint(few), "cpu")
    arrays = shared().arrays
    whole = train(dropping_net(), few, config, arrays=arrays)

    training = Training(dropping_net(), few, config, arrays=arrays)
    while not training.is_over:
        state = from_bytes(to_bytes(training.state(), recipe), recipe)
        training = Training(dropping_net(), few, config, state=state)
        training.run_epoch()

    check_same(training.result(), whole)


def test_values_that_meet_go_on_together_whether_taken_up_or_not(few: TensorSplits) -> None:
    """Groups are found anew before an epoch, so that nothing beside the weights is needed."""
    config = replace(RECIPE, hold="shared")
    trainer = Trainer(from_model(shared()), few.train, config, go_on)
    trainer.run_epoch(0)
    weight = trainer.module.below("second")["weight"]
    values = torch.unique(weight.detach())
    with torch.no_grad():
        weight.copy_(torch.where(weight == values[1], values[0], weight))

    trainer.run_epoch(1)

    assert len(torch.unique(weight.detach())) == len(values) - 1


def test_members_are_equal_also_where_rounding_would_part_them() -> None:
    weight = nn.Parameter(torch.tensor([0.5, 0.5, 0.0, -1.0]))
    group = held(weight, "shared")
    with torch.no_grad():
        weight.copy_(torch.tensor([0.25, 0.2500001, 1e-9, -2.0]))
        group.hold_weight()

    assert weight.tolist() == [0.25, 0.25, 0.0, -2.0]


def test_a_layer_of_more_values_than_a_codebook_has_holds_its_zeros_alone() -> None:
    values = torch.arange((1 << 16) + 3.0)

    assert not isinstance(held(nn.Parameter(values), "shared"), Groups)
    assert isinstance(held(nn.Parameter(values[:100]), "shared"), Groups)


@pytest.mark.parametrize("name", ["w8a8", "w4a4", "xnor"])
def test_zeros_of_codes_are_held_and_signs_have_none(name: str, few: TensorSplits) -> None:
    graph = uniform(dropping_net(), PRECISIONS[name])
    model = random_model(graph, np.random.default_rng(0))
    arrays = dict(model.arrays)
    arrays["second.weight"] = arrays["second.weight"].copy()
    arrays["second.weight"][0] = 0
    module = Interpreter(graph)
    load_arrays(module, arrays)

    trainer = Trainer(module, few.train, replace(RECIPE, hold="shared"), go_on)
    trainer.run_epoch(0)

    after = module.below("second")["weight"].detach().numpy()
    assert (after[0] == 0).all()  # of a sign no gradient reaches a filter of zeros
    assert len(np.unique(after)) > 100
    weight = module.below("second")["weight"]
    is_held = any(each.weight is weight for each in trainer.holding.weights)
    assert is_held == (name != "xnor")


def test_what_is_to_be_held_is_read_off_the_weights() -> None:
    whole = random_model(dropping_net(), np.random.default_rng(0))
    coded = random_model(uniform(dropping_net(), W8A8), np.random.default_rng(0))
    rounded = {name: np.round(array) for name, array in coded.arrays.items()}

    assert hold_of(whole) == "none"
    assert hold_of(pruned()) == "zeros"
    assert hold_of(shared()) == "shared"
    assert hold_of(share_weights(whole, {"second": 5})) == "shared"
    assert hold_of(Model(coded.graph, rounded)) == "none"


def test_a_recipe_s_word_goes_before_what_the_weights_say_and_a_step_s_before_both() -> None:
    said = replace(RECIPE, hold="zeros")

    assert to_hold(RECIPE, shared()).hold == "shared"
    assert to_hold(said, shared()).hold == "zeros"
    assert to_hold(said, shared(), "none").hold == "none"


def test_holding_goes_with_a_teacher(few: TensorSplits) -> None:
    teacher = random_model(dropping_net(), np.random.default_rng(1))
    config = replace(RECIPE, hold="shared")

    found = train(dropping_net(), few, config, arrays=shared().arrays, teacher=teacher).model

    alone = trained(shared(), few, "shared")
    for name, weight in real_weights(found).items():
        assert partition(weight) == partition(shared().arrays[f"{name}.weight"])
        assert (weight != alone.arrays[f"{name}.weight"])[weight != 0].any()


def test_nothing_is_looked_for_where_nothing_is_held() -> None:
    holding = Holding(from_model(shared()), "none")
    holding.find()

    assert holding.weights == []
