"""A factorisation is made where the device is faster for it, at the least rank that is allowed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from latency_models.devices.latency import DeviceBusyError
from nas.compression.steps.factorise import Factorise
from nas.compression.workbench import Made, Workbench
from nas.data.splits import Splits
from nas.data.tensors import TensorSplits, place
from search_spaces.compression.factorisation import macs_of
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from tests.nas.parts.compressions import shortcut_net


@dataclass
class TimingBench:
    """A workbench on which a network takes what a function of it says."""

    tensors: TensorSplits
    takes: Callable[[Model], float | None]
    is_rehearsal: bool = False
    asked: list[int] = field(default_factory=list)

    def latency_ms(self, model: Model) -> float | None:
        self.asked.append(count_macs(model.graph))
        return self.takes(model)


@pytest.fixture(scope="module")
def tensors(digits_splits: Splits) -> TensorSplits:
    return place(digits_splits)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model(shortcut_net(16), np.random.default_rng(0))


def made(
    model: Model,
    tensors: TensorSplits,
    takes: Callable[[Model], float | None],
    **given: Any,  # noqa: ANN401
) -> tuple[Made, dict[str, str]]:
    found = Factorise(**given).run(model, cast(Workbench, TimingBench(tensors, takes)))
    return found, {note.layer: note.text for note in found.layers}


def by_macs(model: Model) -> float:
    return 1e-3 * count_macs(model.graph)


def test_what_is_faster_is_made(model: Model, tensors: TensorSplits) -> None:
    found, notes = made(model, tensors, by_macs, energy=0.5)

    assert count_macs(found.model.graph) < count_macs(model.graph)
    assert "first.factor1" in found.model.graph.shapes
    assert " to " in notes["first"]


def test_what_is_no_faster_is_not_made_and_said(model: Model, tensors: TensorSplits) -> None:
    found, notes = made(model, tensors, lambda model: 1.0, energy=0.5)

    assert found.model is model
    assert notes["first"].startswith("left as it is: ")
    assert notes["first"].endswith("takes 1 ms, which is not faster than 1 ms")
    assert found.summary.startswith("0 of ")


def test_where_nothing_is_timed_multiply_accumulates_decide(
    model: Model, tensors: TensorSplits
) -> None:
    def busy(model: Model) -> float:
        raise DeviceBusyError("host is too busy")

    for takes, why in ((lambda model: None, "not timed"), (busy, "host is too busy")):
        found, notes = made(model, tensors, takes, energy=0.5, layers=("first",))

        assert count_macs(found.model.graph) < count_macs(model.graph)
        assert "MACs (not timed" in notes["first"]
        assert why in notes["first"]


@pytest.mark.parametrize("scheme", ["spatial", "channel", "tucker"])
def test_a_scheme_that_is_asked_for_is_taken(
    scheme: Any,  # noqa: ANN401
    model: Model,
    tensors: TensorSplits,
) -> None:
    found, notes = made(model, tensors, by_macs, rank=4, scheme=scheme, layers=("first",))

    assert notes["first"].startswith(scheme)
    assert len(found.model.graph.nodes) > len(model.graph.nodes)


def test_on_data_a_layer_keeps_what_it_answers(model: Model, tensors: TensorSplits) -> None:
    _, notes = made(model, tensors, by_macs, energy=0.5, on_data=True, layers=("first",))

    assert notes["first"].startswith("responses, rank ")


def test_an_accuracy_takes_the_least_rank_that_keeps_it(
    model: Model, tensors: TensorSplits
) -> None:
    loose, _ = made(model, tensors, by_macs, max_accuracy_drop=0.2, layers=("first",))
    least, _ = made(model, tensors, by_macs, energy=0.5, layers=("first",))

    assert loose.model.graph == least.model.graph


def test_a_share_of_the_multiply_adds_is_the_most_that_layers_take(
    model: Model, tensors: TensorSplits
) -> None:
    found, notes = made(model, tensors, by_macs, macs=0.5, layers=("first",))
    _, left = made(model, tensors, by_macs, macs=0.001, layers=("first",))

    share = count_macs(model.graph) - count_macs(found.model.graph)
    assert share >= 0.5 * layer_macs(model, "first")
    assert " to " in notes["first"]
    assert "no scheme takes 0.10 % of its multiply-accumulates or fewer" in left["first"]
    with pytest.raises(UserError, match=r"macs must be a share of a layer's, .* got 3"):
        Factorise(macs=3)
    with pytest.raises(UserError, match="on_data takes energy, rank or max_accuracy_drop"):
        Factorise(macs=0.5, on_data=True)


def layer_macs(model: Model, name: str) -> int:
    return macs_of(model.graph, model.graph.node(name))


def test_layers_in_groups_are_left_and_said(tensors: TensorSplits) -> None:
    from search_spaces.networks import get_network

    graph = get_network("mobilenet_v1")(width=0.25, resolution=32, num_classes=10, in_channels=1)
    depthwise = random_model(graph, np.random.default_rng(0))

    found, notes = made(depthwise, tensors, by_macs, rank=4)

    assert any("groups is factorised already" in text for text in notes.values())
    assert count_macs(found.model.graph) < count_macs(graph)


def test_a_pattern_must_fit_a_layer(model: Model, tensors: TensorSplits) -> None:
    with pytest.raises(UserError, match="no layer is called 'fc\\*'; the layers are stem"):
        made(model, tensors, by_macs, layers=("fc*",))
    with pytest.raises(UserError, match="takes one of energy, rank, macs, max_accuracy_drop"):
        Factorise(energy=0.5, rank=3)
