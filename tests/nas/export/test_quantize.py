"""Quantizing a network of a run: its images, its layers, what may be lost, and the files."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from nas.export.lowering import Calibration, plan_of, raised, sensitivities
from nas.export.network import TrainedNetwork, network_of_trial
from nas.export.quantize import (
    QuantizationRecipe,
    QuantizedNetwork,
    quantize,
    quantized_network,
    sensitivity,
    spread,
)
from nas.export.write import ship
from nas.problem.search_problem import Setting
from nas.study.results import RunResults
from nas.training.accuracy import accuracy
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Quantize
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8
from search_spaces.quantization.codes import is_coded
from search_spaces.quantization.storage import restored
from search_spaces.space.architecture import load_architecture
from tests.nas.parts.runs import make_trained_run

STAGE = {"depth": 1, "width": 16, "blocks": [{"inverted_residual": {"se_ratio": 0.25}}]}
SPACE = {"resolution": 8, "stem": {"width": 8}, "stages": [STAGE]}
Trained = tuple[RunResults, Setting]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return make_trained_run(tmp_path_factory.mktemp("run"), space=SPACE)


def network(trained: Trained) -> TrainedNetwork:
    results, setting = trained
    return network_of_trial(results, results.front[0], setting.splits)


def quantized(trained: Trained, precision: str, **how: Any) -> QuantizedNetwork:  # noqa: ANN401
    recipe = QuantizationRecipe(precision, **how)
    return quantize(network(trained), recipe, trained[1].examples)


def test_rows_are_spread_over_all_classes_in_a_mixed_order() -> None:
    labels = np.repeat([0, 1, 2], [900, 99, 1])
    rows = spread(labels, 100)

    assert Counter(labels[rows].tolist()) == {0: 90, 1: 10, 2: 1}
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(labels[rows[:20]].tolist())) > 1  # batch norms are measured batch by batch
    assert sorted(spread(labels, 5000).tolist()) == list(range(1000))


def test_data_in_the_order_of_its_classes_is_calibrated_as_all_of_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(120, 136, (700, 8, 8, 1), np.uint8)
    strong = rng.integers(0, 256, (100, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "d.npz", images=np.r_[flat, strong], labels=np.repeat([0, 1], [700, 100]))
    data = {"kind": "npz", "path": str(tmp_path / "d.npz")}
    trained = make_trained_run(tmp_path, space=SPACE, data=data)

    few, every = (quantized(trained, "w8a8", num_images=number) for number in (100, 10_000))

    assert (few.num_images, every.num_images) == (100, 480)
    steps = [found.model.arrays["input.q8.step"] for found in (few, every)]
    assert steps[0] == pytest.approx(steps[1], rel=0.1)


@pytest.mark.parametrize("precision", ["w8a8", "w4a4", "bwn"])
def test_sensitivity_lowers_the_layers_that_quantizing_lowers(
    trained: Trained, precision: str
) -> None:
    rows = sensitivity(network(trained), QuantizationRecipe(precision), trained[1].examples)
    found = quantized(trained, precision)

    lowered = {name: p for name, p in found.precisions.items() if p != FP32}
    assert {row.layer: row.precision for row in rows} == lowered


def test_a_layer_may_have_another_precision(trained: Trained) -> None:
    found = quantized(trained, "w4a4", exceptions={"stem": "fp32", "*project*": "w8a8"})

    (projection,) = (name for name in found.precisions if "project" in name)
    assert found.precisions["stem"] == FP32
    assert found.precisions[projection] == W8A8
    assert PRECISIONS["w4a4"] in found.precisions.values()
    with pytest.raises(UserError, match="no layer is called 'stemm'; the layers are stem, "):
        quantized(trained, "w4a4", exceptions={"stemm": "fp32"})


def test_the_layers_that_lose_most_stay_higher_until_accuracy_holds(trained: Trained) -> None:
    free = quantized(trained, "w2a2")
    kept = quantized(trained, "w2a2", max_drop=0.0)

    assert free.accuracy < free.accuracy_before  # or this test shows nothing
    assert kept.accuracy >= kept.accuracy_before
    assert kept.bytes > free.bytes
    assert quantized(trained, "w2a2", max_drop=0.99).precisions == free.precisions
    for share in (-0.1, 1.0, 5.0):
        with pytest.raises(UserError, match=r"from 0 up to 1 \(one point is 0.01\), got"):
            quantized(trained, "w2a2", max_drop=share)


def test_layers_are_raised_to_8_bits_before_any_is_raised_to_float32(trained: Trained) -> None:
    results, setting = trained
    model = results.run.load_model(results.front[0].hash)
    images = setting.tensors.train.inputs(slice(0, 64), model.graph.input_shape)
    calibration = Calibration(images, "l2", True, setting.tensors.validation)
    plan = plan_of(model.graph, PRECISIONS["w4a4"], {})
    order = [row.layer for row in sensitivities(model, plan, calibration)]

    plans = list(raised(model, plan, calibration))

    assert plans[0] == plan
    raises = [
        [name for name in order if before[name] != after[name]]
        for before, after in pairwise(plans)
    ]
    assert {len(names) for names in raises} == {1}
    kinds = [plan[names[0]].name for names, plan in zip(raises, plans[1:], strict=True)]
    assert kinds == sorted(kinds, reverse=True)
    assert set(plans[-1].values()) == {FP32}


def test_numbers_of_images_that_make_no_sense_are_refused(trained: Trained) -> None:
    for number in (-5, 0, 1):
        with pytest.raises(UserError, match=f"at least 2 images, got {number}"):
            quantized(trained, "w8a8", num_images=number)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["w8a8", "w2a2"])
def test_a_quantized_network_is_shipped_checked_and_as_small_as_it_is_said_to_be(
    trained: Trained, precision: str, tmp_path: Path
) -> None:
    _, setting = trained
    found = quantized(trained, precision)
    report = ship(
        quantized_network(network(trained), found),
        tmp_path / "q",
        ["onnx", "torch"],
        setting.examples,
        measure=False,
    )

    known = json.loads((tmp_path / "q/metadata.json").read_text())
    assert known["weights"]["validation_accuracy"] == found.accuracy
    said = known["weights"]["precisions"]
    assert said == {name: p.name for name, p in found.precisions.items()}
    for name, size in report.sizes.items():
        assert (tmp_path / "q" / name).stat().st_size == size
    file = tmp_path / "q/model.safetensors"
    graph = load_architecture(tmp_path / "q/architecture.json").graph
    assert accuracy(restored(graph, load_file(file)), setting.tensors.test) == pytest.approx(
        known["test"]["accuracy"], abs=0.003
    )
    arrays = sum(array.nbytes for array in load_file(file).values())
    channels = sum(node.shape[0] for node in graph.nodes if is_coded(node))
    quantizers = sum(isinstance(node.operator, Quantize) for node in graph.nodes)
    assert arrays - found.bytes <= 8 * channels + 4 * quantizers  # gains and steps
    assert found.file_bytes < found.file_bytes_before
