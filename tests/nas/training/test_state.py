"""A training taken up from its state ends as if it had never stopped; a wrong state is refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from nas.data.augmentation.settings import Augmentation
from nas.data.tensors import TensorSplits
from nas.problem.training_config import TrainingConfig
from nas.training.loop import EpochReport, Training, TrainingResult, train
from nas.training.state import (
    FORMAT,
    VERSION,
    DamagedStateError,
    Recipe,
    TrainingState,
    data_fingerprint,
    digest_of,
    from_bytes,
    read_file,
    to_bytes,
)
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import FP32, PRECISIONS
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.trainings import check_same, dropping_net, few_digits, first

RECIPE = TrainingConfig(epochs=3, batch_size=32, device="cpu", seed=3)
SHAKEN = Augmentation(True, 0.2, "reflect", 0.3)
EVERYTHING = Augmentation(
    flip=True, crop=0.5, policy="trivialaugment", erasing=0.3, mixup=0.4, cutmix=1.0
)
W4A4 = PRECISIONS["w4a4"]


@pytest.fixture(scope="module")
def few() -> TensorSplits:
    return few_digits()


def recipe_of(graph: Graph, data: TensorSplits, config: TrainingConfig) -> Recipe:
    return Recipe(graph, config, data_fingerprint(data), "cpu")


def taken_up_everywhere(
    graph: Graph,
    data: TensorSplits,
    config: TrainingConfig,
    **given: Any,  # noqa: ANN401
) -> TrainingResult:
    """Trains as if its process died after every epoch, before the first one too."""
    recipe = recipe_of(graph, data, config)
    training = Training(graph, data, config, **given)
    while True:
        torch.rand(7)  # what else a process draws does not matter
        state = from_bytes(to_bytes(training.state(), recipe), recipe)
        training = Training(graph, data, config, state=state, **given)
        if training.is_over:
            return training.result()
        training.run_epoch()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augmentation": SHAKEN},
        {"augmentation": EVERYTHING, "class_weights": "balanced", "label_smoothing": 0.1},
        {"gradient_clip": 0.5, "label_smoothing": 0.1},
        {"class_weights": {"3": 5, "8": 0.5}, "label_smoothing": 0.1},
        {"momentum": 0.0, "weight_decay": 0.0},
        {"norm_l1": 1e-3},
        {"whitening": True, "fall": "linear"},
        {"cosine": False, "warmup_epochs": 1.5, "norm_momentum": 0.3},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_a_training_taken_up_after_every_epoch_ends_the_same(
    optimizer: Any,  # noqa: ANN401
    changes: dict[str, Any],
    few: TensorSplits,
) -> None:
    config = replace(RECIPE, optimizer=optimizer, **changes)

    check_same(
        taken_up_everywhere(dropping_net(), few, config), train(dropping_net(), few, config)
    )


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", [name for name, p in PRECISIONS.items() if p != FP32])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_low_bit_training_is_taken_up_in_either_phase_with_its_teacher(
    name: str,
    optimizer: Any,  # noqa: ANN401
    few: TensorSplits,
) -> None:
    graph = dropping_net(PRECISIONS[name])
    config = replace(RECIPE, epochs=2, optimizer=optimizer, fp32_epochs=2, augmentation=SHAKEN)
    config = replace(config, class_weights="balanced", augmentation=EVERYTHING)

    check_same(taken_up_everywhere(graph, few, config), train(graph, few, config))


def test_settings_that_older_versions_had_not_change_no_recipe_at_their_defaults() -> None:
    made_by_0_1_0 = "eae8bd72e5f29330d2e95b848cf62b7813dda9a25b1584ec8b079b43d1d735f3"
    plain = Recipe(dropping_net(), TrainingConfig(), "", "cpu")

    assert plain.fingerprint == made_by_0_1_0
    weighted = replace(plain, config=TrainingConfig(class_weights="balanced"))
    assert weighted.fingerprint != plain.fingerprint
    sparse = replace(plain, config=TrainingConfig(norm_l1=1e-4))
    assert sparse.fingerprint != plain.fingerprint
    holding = replace(plain, config=TrainingConfig(hold="zeros"))
    assert holding.fingerprint != plain.fingerprint
    named = replace(plain, config=TrainingConfig(recipe="fast"))
    assert named.fingerprint == plain.fingerprint  # what a recipe says counts, not its name
    for other in ({"whitening": True}, {"fall": "linear"}, {"optimizer": "muon"}):
        assert replace(plain, config=TrainingConfig(**other)).fingerprint != plain.fingerprint


def test_low_bit_training_from_first_weights_of_its_own_is_taken_up(few: TensorSplits) -> None:
    graph = dropping_net(W4A4)

    check_same(taken_up_everywhere(graph, few, RECIPE), train(graph, few, RECIPE))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_teacher_that_is_given_is_given_again(weight: float, few: TensorSplits) -> None:
    teacher = train(dropping_net(), few, RECIPE).model
    graph = dropping_net(W4A4)
    config = replace(RECIPE, fp32_epochs=1, distillation_weight=weight)

    whole = train(graph, few, config, teacher=teacher)

    check_same(taken_up_everywhere(graph, few, config, teacher=teacher), whole)


@pytest.mark.parametrize("block", [name for name in BLOCKS if name != "skip"])
def test_every_block_is_taken_up(block: str, few: TensorSplits) -> None:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(8, (3, 3), stride=(2, 2)), net.input)
    x = BLOCKS[block]().add_to(net, x, Layer(16, stride=2))
    x = net.add("global_pool", GlobalAvgPool(), x)
    net.add("logits", Linear(10), x)
    config = replace(RECIPE, epochs=2)

    check_same(taken_up_everywhere(net.graph(), few, config), train(net.graph(), few, config))


def test_two_trainings_by_turns_do_not_disturb_each_other_or_torch(few: TensorSplits) -> None:
    graph = dropping_net()
    configs = [replace(RECIPE, seed=seed) for seed in (1, 2)]
    before = torch.random.get_rng_state()
    both = [Training(graph, few, config) for config in configs]

    while not both[0].is_over:
        for training in both:
            training.run_epoch()

    assert torch.equal(torch.random.get_rng_state(), before)
    for training, config in zip(both, configs, strict=True):
        check_same(training.result(), train(graph, few, config))


def test_a_state_is_a_copy_that_training_does_not_touch(few: TensorSplits) -> None:
    recipe = recipe_of(dropping_net(), few, RECIPE)
    training = Training(dropping_net(), few, RECIPE)
    training.run_epoch()
    state = training.state()
    before = digest(to_bytes(state, recipe))

    training.run_epoch()
    Training(dropping_net(), few, RECIPE, state=state).run_epoch()

    assert digest(to_bytes(state, recipe)) == before


def test_reports_go_on_where_they_were_and_float32_epochs_have_none(few: TensorSplits) -> None:
    graph = dropping_net(W4A4)
    config = replace(RECIPE, fp32_epochs=2)
    reports: list[EpochReport] = []
    states: list[TrainingState] = []

    train(graph, few, config, on_epoch=reports.append, on_state=lambda make: states.append(make()))

    assert [(state.phase, state.epochs) for state in states] == [
        ("float32", 1),
        ("main", 0),
        ("main", 1),
        ("main", 2),
        ("main", 3),
    ]
    training = Training(graph, few, config, state=states[2])
    assert training.epochs_run == 1
    report = training.run_epoch()
    assert report is not None
    assert replace(report, seconds=0) == replace(reports[1], seconds=0)
    assert not Training(graph, few, config, state=states[0]).epochs_run
    assert Training(graph, few, config, state=states[0]).run_epoch() is None


def test_seconds_count_those_before_and_so_does_a_deadline(few: TensorSplits) -> None:
    def seconds() -> Callable[[], float]:
        ticks = count()
        return lambda: float(next(ticks))

    states: list[TrainingState] = []
    config = replace(RECIPE, epochs=20)
    whole = train(
        dropping_net(),
        few,
        config,
        on_state=lambda make: states.append(make()),
        deadline_s=40,
        clock=seconds(),
    )
    assert 3 < whole.epochs_run < 20
    state = states[whole.epochs_run - 2]

    rest = train(dropping_net(), few, config, state=state, deadline_s=40, clock=seconds())

    assert rest.seconds > state.seconds > 0
    assert abs(rest.epochs_run - whole.epochs_run) <= 1
    assert not rest.finished


def test_who_asks_may_end_a_training_after_any_epoch_but_the_last(few: TensorSplits) -> None:
    asked: list[int] = []

    def only_two(report: EpochReport) -> bool:
        asked.append(report.epoch)
        return report.epoch < 2

    stopped = train(dropping_net(), few, replace(RECIPE, epochs=5), may_go_on=only_two)
    assert asked == [1, 2]
    assert (stopped.epochs_run, stopped.finished) == (2, False)

    asked.clear()
    whole = train(dropping_net(), few, replace(RECIPE, epochs=2), may_go_on=only_two)
    assert asked == [1]
    assert whole.finished


def test_nothing_is_copied_where_no_state_is_wanted(few: TensorSplits) -> None:
    makers: list[Callable[[], TrainingState]] = []

    train(dropping_net(), few, RECIPE, on_state=makers.append)

    assert len(makers) == 3
    assert makers[-1]().epochs == 3  # it is made now, not then


# The file.


def digest(content: bytes) -> str:
    """What tells a state's numbers; the order of a file's metadata is left to chance."""
    return read_file(content)[1]["digest"]


@cache
def saved() -> tuple[bytes, Recipe]:
    """A training in its main phase that has a teacher."""
    data, graph = few_digits(), dropping_net(W4A4, 3)
    config = replace(RECIPE, fp32_epochs=1)
    training = Training(graph, data, config)
    training.run_epoch()
    training.run_epoch()
    recipe = recipe_of(graph, data, config)
    return to_bytes(training.state(), recipe), recipe


def forged(
    edit: Callable[[dict[str, Any]], object] = lambda arrays: None,
    swaps: dict[str, str] | None = None,
    **metadata: str,
) -> bytes:
    """A file whose digest is right but whose arrays, or what is said of them, are not."""
    content, _ = saved()
    arrays, said = read_file(content)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    edit(arrays)
    about = said["about"]
    for old, new in (swaps or {}).items():
        assert old in about
        about = about.replace(old, new)
    said |= {"about": about, "digest": digest_of(arrays, about)} | metadata
    return save(arrays, said)


def test_a_file_gives_back_every_number() -> None:
    content, recipe = saved()

    state = from_bytes(content, recipe)

    assert digest(to_bytes(state, recipe)) == digest(content)
    assert state.teacher is not None
    assert load(content)["teacher.stem.weight"].tolist() == state.teacher["stem.weight"].tolist()
    assert (state.phase, state.epochs) == ("main", 1)


def test_a_state_of_another_network_recipe_data_or_device_is_refused() -> None:
    content, recipe = saved()
    data = few_digits()
    less = data_fingerprint(replace(data, train=first(data.train, 95)))
    others = {
        "network": replace(recipe, graph=dropping_net(W4A4, 4)),
        "recipe or kind of device": replace(recipe, device="cuda"),
        "data": replace(recipe, data=less),
    }
    longer = replace(recipe, config=replace(recipe.config, epochs=4))

    for what, other in [*others.items(), ("recipe", longer)]:
        with pytest.raises(DamagedStateError, match=f"must be of the same {what}") as caught:
            from_bytes(content, other)
        assert "\n" not in str(caught.value)


def test_networks_that_compute_the_same_by_other_names_are_told_apart() -> None:
    content, recipe = saved()
    net = GraphBuilder((1, 8, 8))
    nodes = {"input": net.input}
    for node in recipe.graph.nodes:
        name = f"{node.name}_too"
        nodes[node.name] = net.add(name, node.operator, *(nodes[i] for i in node.inputs))
    assert graph_hash(net.graph()) == graph_hash(recipe.graph)

    with pytest.raises(DamagedStateError, match="is unknown"):
        from_bytes(content, replace(recipe, graph=net.graph()))


def test_data_differ_by_any_pixel_label_or_normalisation_but_not_by_the_test_images() -> None:
    data = few_digits()
    known = data_fingerprint(data)

    assert data_fingerprint(replace(data, test=first(data.test, 3))) == known
    pixels, labels = data.train.pixels.clone(), data.validation.labels.clone()
    pixels[data.train.rows[5], 3, 3, 0] += 1
    labels[2] += 1
    for other in (
        replace(data, train=replace(data.train, pixels=pixels)),
        replace(data, validation=replace(data.validation, labels=labels)),
        replace(data, train=replace(data.train, shift=data.train.shift + 1)),
        replace(data, validation=first(data.validation, 31)),
    ):
        assert data_fingerprint(other) != known


ZERO = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda a: a.pop("arrays.stem.weight"), "arrays.stem.weight is missing"),
        (lambda a: a.update({"arrays.more": ZERO}), "arrays.more is unknown"),
        (lambda a: a.update({"arrays.stem.weight": ZERO}), r"must be float32 of shape \(3, 1"),
        (lambda a: a.update({"arrays.stem.norm.mean": ZERO.astype(np.float64)}), "got float64"),
        (lambda a: a.pop("exp_avg.stem.weight"), "exp_avg.stem.weight is missing"),
        (lambda a: a.update({"exp_avg.stem.norm.mean": ZERO}), "exp_avg.* is unknown"),
        (lambda a: a.update({"step.stem.weight": ZERO}), r"must be float32 of shape \(\)"),
        (lambda a: a.update({"momentum_buffer.stem.weight": ZERO}), "nobody knows its arrays"),
        (lambda a: a.pop("teacher.stem.weight"), "teacher.stem.weight is missing"),
        (lambda a: a.pop("random.cpu"), "it has random states"),
        (lambda a: a.update({"random.cuda": a["random.cpu"]}), "it has random states"),
        (lambda a: a.update({"random.order": ZERO}), "its random state order is none"),
    ],
)
def test_arrays_that_are_missing_unknown_or_of_another_shape_are_refused(
    edit: Callable[[dict[str, Any]], object], why: str
) -> None:
    with pytest.raises(DamagedStateError, match=why):
        from_bytes(forged(edit), saved()[1])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"phase":"main"', '"phase":"float32"', "it has done 1 of 0 epochs"),
        ('"phase":"main"', '"phase":"other"', "phase: "),
        ('"validation_accuracy":[', '"validation_accuracy":[0.5,', "more losses than accuracies"),
        ('"seconds":', '"seconds":-', "seconds: "),
        ('"loss_scale":null', '"loss_scale":[0,1]', "loss_scale"),
        ('"loss_scale":null', '"loss_scale":null,"more":1', "unknown key 'more'"),
        ('"began_s":', '"began_s":9', "it began after it ended"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(old: str, new: str, why: str) -> None:
    with pytest.raises(DamagedStateError, match=why) as caught:
        from_bytes(forged(swaps={old: new}), saved()[1])

    assert "\n" not in str(caught.value)


def test_a_file_of_another_version_or_kind_is_refused() -> None:
    with pytest.raises(DamagedStateError, match=f"version {VERSION}, got '{FORMAT}' version '2'"):
        from_bytes(forged(version="2"), saved()[1])
    with pytest.raises(DamagedStateError, match="got None version None"):
        from_bytes(save({"x": ZERO}), saved()[1])
    with pytest.raises(DamagedStateError, match="its digest differs"):
        from_bytes(forged(digest="0"), saved()[1])


@pytest.mark.parametrize("name", ["random.order", "random.cpu"])
def test_random_states_that_torch_does_not_know_are_refused(name: str) -> None:
    content = forged(lambda arrays: arrays.update({name: np.arange(9, dtype=np.uint8)}))
    _, recipe = saved()

    state = from_bytes(content, recipe)
    with pytest.raises(DamagedStateError, match="random state"):
        Training(recipe.graph, few_digits(), recipe.config, state=state)


def test_a_loss_scale_where_nothing_is_scaled_is_refused(few: TensorSplits) -> None:
    training = Training(dropping_net(), few, RECIPE)

    with pytest.raises(DamagedStateError, match="loss scale"):
        Training(dropping_net(), few, RECIPE, state=replace(training.state(), loss_scale=(2.0, 1)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_that_is_cut_or_has_a_wrong_bit_is_refused(data: st.DataObject) -> None:
    content, recipe = saved()
    # Half of the places in the header, where every byte means something else.
    header = int.from_bytes(content[:8], "little") + 8
    place = data.draw(st.integers(0, header - 1) | st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    if data.draw(st.booleans()):
        del damaged[place:]
    else:
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(DamagedStateError) as caught:
        from_bytes(bytes(damaged), recipe)

    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: framed(text.encode())))
def test_any_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(DamagedStateError):
        from_bytes(content, saved()[1])


def framed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header
