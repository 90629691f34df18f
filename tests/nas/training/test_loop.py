"""Training learns, repeats itself from a seed, and says in one line why it cannot go on."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.augmentation.settings import Augmentation
from nas.data.images import ImageData
from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplit, TensorSplits, place, training_device
from nas.nn.interpreter import Interpreter, from_model
from nas.nn.memory import CandidateTooLargeError, free_bytes, refusing_too_large, training_bytes
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy, logits
from nas.training.loop import EpochReport, go_on, train
from nas.training.recipe.optimizer import learning_rate, make_optimizers, set_learning_rate
from nas.training.trainer import Trainer, TrainingDivergedError
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import fold_batch_norm
from search_spaces.graphs.operators import BatchNorm, Conv2d, Dropout, GlobalAvgPool, Linear
from search_spaces.networks import NETWORKS

QUICK = TrainingConfig(epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def digits() -> TensorSplits:
    return place(split(load(make_source("digits")).data, seed=0))


@pytest.fixture(scope="module")
def few(digits: TensorSplits) -> TensorSplits:
    """96 training images, 32 to validate: enough to see what a test asks about."""
    return replace(
        digits,
        train=first(digits.train, 96),
        validation=first(digits.validation, 32),
    )


def first(part: TensorSplit, number: int) -> TensorSplit:
    return part.take(slice(number))


def small_net(width: int = 12, dropout: float = 0.0) -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3)), net.input)
    x = net.add("depthwise", Conv2d(width, (3, 3), stride=(2, 2), groups=width), x)
    x = net.add("wide", Conv2d(4 * width, (3, 3)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("drop", Dropout(dropout), x)
    net.add("logits", Linear(10), x)
    return net.graph()


def same(first: Any, second: Any) -> bool:  # noqa: ANN401  (results of any training)
    arrays, others = first.model.arrays, second.model.arrays
    return all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_digits_are_learnt_to_95_percent_in_seconds(digits: TensorSplits) -> None:
    result = train(small_net(16), digits, replace(QUICK, epochs=10))

    assert result.accuracy >= 0.95
    assert result.finished
    assert result.seconds < 20
    assert accuracy(result.model, digits.test) >= 0.92


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_small_set_is_learnt_by_heart(optimizer: Any, few: TensorSplits) -> None:  # noqa: ANN401
    rate = {"adamw": 0.01, "sgd": 0.1}[optimizer]
    config = TrainingConfig(
        epochs=60, batch_size=32, optimizer=optimizer, learning_rate=rate, weight_decay=0.0
    )

    result = train(small_net(), few, config)

    assert accuracy(result.model, few.train) == 1.0
    assert result.train_loss[-1] < 0.05


def test_the_same_seed_gives_the_same_network(few: TensorSplits) -> None:
    config = replace(QUICK, augmentation=Augmentation(True, 0.2, "reflect", 0.3))
    graph = small_net(dropout=0.3)

    runs = [train(graph, few, replace(config, seed=seed)) for seed in (1, 1, 2)]

    assert same(runs[0], runs[1])
    assert runs[0].train_loss == runs[1].train_loss
    assert not same(runs[0], runs[2])


def test_torch_random_state_is_left_as_it_was(few: TensorSplits) -> None:
    before = torch.random.get_rng_state()

    train(small_net(dropout=0.3), few, QUICK)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_results_are_those_of_the_model(few: TensorSplits) -> None:
    reports: list[EpochReport] = []

    result = train(small_net(), few, QUICK, on_epoch=reports.append)

    assert result.epochs_run == len(result.train_loss) == QUICK.epochs
    assert result.accuracy == accuracy(result.model, few.validation)
    assert [report.epoch for report in reports] == [1, 2]
    assert [report.validation_accuracy for report in reports] == list(result.validation_accuracy)
    assert [report.train_loss for report in reports] == list(result.train_loss)


def test_training_goes_on_from_given_arrays(few: TensorSplits) -> None:
    learnt = train(small_net(), few, replace(QUICK, epochs=30, batch_size=32))
    gentle = replace(QUICK, epochs=1, learning_rate=1e-5, warmup_epochs=0)

    continued = train(small_net(), few, gentle, arrays=learnt.model.arrays)

    assert continued.train_loss[0] == pytest.approx(learnt.train_loss[-1], abs=0.2)
    assert train(small_net(), few, gentle).train_loss[0] > 2


def test_accuracy_does_not_depend_on_the_batch_or_on_folding(few: TensorSplits) -> None:
    model = train(small_net(), few, QUICK).model

    outputs = logits(model, few.train, 96)

    assert torch.allclose(logits(model, few.train, 7), outputs, atol=1e-4)
    assert torch.allclose(logits(fold_batch_norm(model), few.train), outputs, atol=1e-4)
    expected = (outputs.argmax(1) == few.train.labels).float().mean().item()
    assert accuracy(from_model(model), few.train) == pytest.approx(expected)


def test_scoring_leaves_a_module_in_its_mode_and_its_statistics_alone(few: TensorSplits) -> None:
    module = Interpreter(small_net()).train()
    before = {name: array.clone() for name, array in module.state_dict().items()}

    accuracy(module, few.train)

    assert module.training
    assert all(torch.equal(module.state_dict()[name], array) for name, array in before.items())


@pytest.mark.parametrize("number", [3, 95, 96])
def test_an_epoch_sees_every_image_once(number: int, few: TensorSplits) -> None:
    part = first(few.train, number)
    seen: list[int] = []

    class Watched(Trainer):
        def run_step(self, rows: torch.Tensor) -> torch.Tensor:
            seen.extend(rows.tolist())
            assert len(rows) > 1
            return super().run_step(rows)

    Watched(Interpreter(small_net()), part, replace(QUICK, batch_size=2), go_on).run_epoch(0)

    assert sorted(seen) == list(range(number))


def test_a_layer_before_a_norm_on_its_own_learns_at_the_full_rate() -> None:
    net = GraphBuilder((64, 4, 4))
    bare = Conv2d(64, (3, 3), norm="none", activation="none")
    x = net.add("norm", BatchNorm(), net.add("normed", bare, net.input))
    net.add("free", bare, x)
    module = Interpreter(net.graph())
    (optimizer,) = make_optimizers(module, replace(QUICK, optimizer="adamw", weight_decay=0.3))
    groups = {
        name: group
        for name, known in module.named_parameters()
        for group in optimizer.param_groups
        if any(parameter is known for parameter in group["params"])
    }

    shares = {name: group["rate_share"] for name, group in groups.items()}
    assert shares["normed.weight"] == 1.0 > shares["free.weight"]
    assert groups["norm.norm.weight"]["weight_decay"] == 0.0
    assert groups["normed.weight"]["weight_decay"] == 0.3


def test_norms_and_biases_are_not_decayed() -> None:
    module = Interpreter(small_net())
    (optimizer,) = make_optimizers(module, replace(QUICK, weight_decay=0.3))

    decayed = {
        name
        for name, parameter in module.named_parameters()
        for group in optimizer.param_groups
        if group["weight_decay"] > 0 and any(parameter is known for known in group["params"])
    }

    assert decayed == {"stem.weight", "depthwise.weight", "wide.weight", "logits.weight"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(module.parameters())
    )


def test_weights_without_a_norm_learn_slower_the_more_they_sum() -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.add("normed", Conv2d(64, (3, 3)), net.input)
    x = net.add("also_normed", Conv2d(64, (3, 3)), x)
    x = net.add("bare", Conv2d(64, (2, 2), norm="none", bias=True), x)
    net.add("narrow", Conv2d(8, norm="none", groups=8), x)
    module = Interpreter(net.graph())
    (optimizer,) = make_optimizers(module, QUICK)

    set_learning_rate([optimizer], 0.5)

    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: rates[id(parameter)] for name, parameter in module.named_parameters()}
    assert by_name.pop("bare.weight") == 0.5 * 32 / 256
    assert set(by_name.values()) == {0.5}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet_1_1", "vgg16", "lenet5", "shufflenet_v2"])
def test_published_networks_with_and_without_norms_learn(name: str, few: TensorSplits) -> None:
    width = {"squeezenet_1_1": 0.5, "vgg16": 0.1, "lenet5": 1.0, "shufflenet_v2": 0.5}[name]
    graph = NETWORKS[name](width=width, resolution=32, num_classes=10, in_channels=1)
    config = replace(QUICK, epochs=20, batch_size=16)

    result = train(graph, few, config)

    assert result.train_loss[-1] < 1.9


def test_the_learning_rate_rises_falls_to_zero_or_stays() -> None:
    config = TrainingConfig(epochs=10, learning_rate=0.5, warmup_epochs=2)
    rates = [learning_rate(step, 10, config) for step in range(100)]

    assert rates[:20] == pytest.approx(np.linspace(0.025, 0.5, 20))
    assert all(before >= after for before, after in pairwise(rates[19:]))
    assert 0 < rates[-1] < 0.001
    line = [learning_rate(step, 10, replace(config, fall="linear")) for step in range(101)]
    assert line[:20] == rates[:20]
    assert line[20:] == pytest.approx(np.linspace(0.5, 0, 81))
    flat = replace(config, cosine=False, warmup_epochs=0.0)
    assert {learning_rate(step, 10, flat) for step in range(100)} == {0.5}


def test_a_loss_that_leaves_the_numbers_ends_training(few: TensorSplits) -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.add("a", Conv2d(8, (3, 3), norm="none"), net.input)
    x = net.add("b", Conv2d(8, (3, 3), norm="none"), x)
    net.add("logits", Linear(10), x)
    config = TrainingConfig(epochs=5, optimizer="sgd", learning_rate=1e12, warmup_epochs=0)
    config = replace(config, cosine=False)

    with pytest.raises(TrainingDivergedError, match=r"finite loss, got .* in epoch 1, step") as e:
        train(net.graph(), few, config)

    assert (e.value.epoch, e.value.learning_rate) == (1, 1e12)
    assert "\n" not in str(e.value)


def test_outputs_that_leave_the_numbers_are_no_accuracy(few: TensorSplits) -> None:
    module = Interpreter(small_net())
    with torch.no_grad():
        module.child("logits")["bias"].fill_(float("nan"))

    with pytest.raises(FloatingPointError, match=r"digits validation: .* NaN or infinite outputs"):
        accuracy(module, few.validation)


def test_gradient_clipping_keeps_a_step_small(few: TensorSplits) -> None:
    config = TrainingConfig(
        epochs=1, optimizer="sgd", learning_rate=1.0, momentum=0, weight_decay=0, warmup_epochs=0
    )
    graph = small_net()

    def moved(clip: float | None) -> float:
        trained = train(graph, few, replace(config, batch_size=96, gradient_clip=clip)).model
        start = train(graph, few, replace(config, batch_size=96, learning_rate=1e-30)).model
        names = [name for name in start.arrays if not name.endswith(("mean", "variance"))]
        squares = [np.square(trained.arrays[n] - start.arrays[n]).sum() for n in names]
        return float(np.sqrt(sum(squares)))

    assert moved(1e-3) == pytest.approx(1e-3, rel=0.01)
    assert moved(None) > 0.01


def test_a_deadline_ends_training_after_a_whole_epoch(few: TensorSplits) -> None:
    ticks: Iterator[int] = count()

    result = train(
        small_net(),
        few,
        replace(QUICK, epochs=20),
        deadline_s=10,
        clock=lambda: next(ticks),
    )

    assert not result.finished
    assert 0 < result.epochs_run < 20
    assert result.seconds <= 11


def test_the_first_epoch_runs_whatever_the_deadline(few: TensorSplits) -> None:
    assert train(small_net(), few, QUICK, deadline_s=0).epochs_run == 1


def test_a_network_larger_than_memory_is_refused_before_it_is_built(few: TensorSplits) -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.add("wide", Linear(10**10), net.input)
    net.add("logits", Linear(10), x)

    with pytest.raises(CandidateTooLargeError, match=r"at least .* GiB for batches of 64 with"):
        train(net.graph(), few, QUICK)


def test_an_allocation_that_fails_is_told_as_too_large() -> None:
    with (
        pytest.raises(CandidateTooLargeError, match="a network of 6 nodes did not"),
        refusing_too_large(small_net()),
    ):
        torch.empty(10**15)
    with pytest.raises(CandidateTooLargeError), refusing_too_large(small_net()):
        raise MemoryError
    with pytest.raises(RuntimeError, match="something else"), refusing_too_large(small_net()):
        raise RuntimeError("something else")


def test_training_bytes_bound_what_a_step_really_holds() -> None:
    graph = small_net(64)
    module = Interpreter(graph)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(torch.randn(32, 1, 8, 8)).sum()

    weights = 4 * network_cost(graph).params
    assert 0.7 * sum(kept.values()) < training_bytes(graph, 32) < sum(kept.values()) + 3 * weights


def test_a_container_limit_bounds_free_memory(tmp_path: Path) -> None:
    machine = free_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 3000\ninactive_file 700\n")

    assert free_bytes(tmp_path) == 1700

    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(tmp_path) == pytest.approx(machine, rel=0.5)


def test_a_network_that_does_not_fit_the_data_is_refused(few: TensorSplits) -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("logits", Linear(10), net.input)
    with pytest.raises(UserError, match="as many channels as the images have, got 3"):
        train(net.graph(), few, QUICK)

    net = GraphBuilder((1, 8, 8))
    net.add("logits", Linear(7), net.input)
    with pytest.raises(UserError, match=r"logits: .* shape \(7, 1, 1\) for the 10 classes of dig"):
        train(net.graph(), few, QUICK)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("momentum", 1.0),
        ("label_smoothing", 1.0),
        ("warmup_epochs", 11),
        ("gradient_clip", 0),
        ("norm_momentum", 0),
        ("norm_l1", -1e-4),
        ("optimizer", "adam"),
        ("mixed_precision", "on"),
        ("device", "tpu"),
        ("hold", "masks"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"training {field} must be .*, got '?{value}"):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]


def test_the_device_is_that_of_the_configuration() -> None:
    has_cuda = torch.cuda.is_available()

    assert training_device("cpu").type == "cpu"
    assert training_device("auto").type == ("cuda" if has_cuda else "cpu")
    if not has_cuda:
        with pytest.raises(UserError, match=r"'cuda' and torch .* sees no CUDA device; install"):
            training_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mixed_precision", ["auto", "off"])
def test_an_epoch_runs_on_cuda(mixed_precision: Any) -> None:  # noqa: ANN401
    splits = split(load(make_source("digits")).data, seed=0)
    on_cuda, on_cpu = place(splits, "cuda"), place(splits)
    augmentation = Augmentation(shift=0.1, cutout=0.2)
    config = replace(QUICK, epochs=8, mixed_precision=mixed_precision, augmentation=augmentation)

    result = train(small_net(dropout=0.1), on_cuda, config)

    assert result.accuracy > 0.85
    assert accuracy(result.model, on_cpu.validation) == pytest.approx(result.accuracy, abs=0.01)


def test_balanced_weights_find_a_rare_class_that_is_missed_without() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 20 == 0).astype(np.int64)
    bars = np.where(np.arange(8) % 2, 170, 90)
    upright, level = np.broadcast_to(bars, (8, 8)), np.broadcast_to(bars[:, None], (8, 8))
    images = np.where(labels[:, None, None], upright, level) + rng.normal(0, 45, (400, 8, 8))
    data = ImageData("bars", images.clip(0, 255).astype(np.uint8)[..., None], labels, ("a", "b"))
    tensors = place(split(data, seed=0, validation=0.3, test=0.3))
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(4, (3, 3)), net.input)
    x = net.add("logits", Linear(2), net.add("pool", GlobalAvgPool(), x))
    config = TrainingConfig(epochs=3, batch_size=32, learning_rate=0.003, device="cpu")

    without = train(net.graph(), tensors, config)
    balanced = train(net.graph(), tensors, replace(config, class_weights="balanced"))

    assert without.confusion.only_answer == 0
    assert balanced.confusion.recalls[1] > 0.5
    assert balanced.confusion.balanced_accuracy > without.confusion.balanced_accuracy + 0.1
