"""Nudging: as many codes move as asked for; right files stay within its bounds, others do not."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from latency_models.onnx.model import onnx_model
from latency_models.onnx.parity import LIMIT, ParityError, check_parity
from latency_models.onnx.session import open_session, run_session
from nas.data.tensors import TensorSplit
from nas.export.tolerance import has_codes, nudged_bounds, nudged_logits, nudging
from nas.nn.interpreter import from_model
from nas.nn.layers import Context
from nas.nn.quantized_layers import quantize
from nas.problem.search_problem import load_setting
from nas.training.accuracy import logits
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, Quantize
from search_spaces.graphs.precision import PRECISIONS, Precision
from tests.latency_models.parts.cases import LOW_BIT, graph_of
from tests.nas.parts.tiny import tiny

CODED = {name: row for name, row in LOW_BIT.items() if row.activations != "real"}


@pytest.fixture(scope="module")
def images() -> TensorSplit:
    return load_setting(tiny().config()).tensors.validation


def network(precision: Precision, block: str = "inverted_residual") -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(16, (3, 3)), net.input)
    for number in range(2):
        with net.scope(f"layer{number}"):
            x = BLOCKS[block]().add_to(net, x, Layer(16, precision=precision))
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


def file_outputs(model: Model, split: TensorSplit) -> Array:
    shape = model.graph.input_shape
    (inputs,) = (x.numpy() for x, _ in split.batches(shape, len(split)))
    return run_session(open_session(onnx_model(model).SerializeToString()), inputs)


def with_arrays(model: Model, change: Callable[[str, Array], Array]) -> Model:
    arrays: Mapping[str, Array] = {
        name: change(name, array).astype(np.float32) for name, array in model.arrays.items()
    }
    return Model(model.graph, arrays)


@pytest.mark.parametrize("quantizer", [Quantize(8), Quantize(4, signed=True), Quantize(1)])
def test_the_share_of_codes_that_moves_is_the_one_asked_for(quantizer: Quantize) -> None:
    model = random_model(graph_of((8, 40, 40), quantizer), np.random.default_rng(0))
    x = torch.rand(4, 8, 40, 40) * 2 - (1 if quantizer.lowest else 0)
    context = Context("node", from_model(model).below("node"), False, 0.1, None)

    run = nudging(0.1, 0.0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        moved = (run(quantizer, context, x) - quantize(quantizer, context, x)).abs().numpy()

    size = 2.0 if quantizer.bits == 1 else float(model.arrays["node.step"])
    assert set(np.unique(np.round(moved / size, 3))) == {0, 1}
    assert (moved > 0).mean() == pytest.approx(0.1, rel=0.1)


def test_a_shift_moves_its_share_of_the_codes_the_same_way_in_a_channel() -> None:
    model = random_model(graph_of((8, 40, 40), Quantize(8)), np.random.default_rng(0))
    x = torch.rand(4, 8, 40, 40) + 0.5
    context = Context("node", from_model(model).below("node"), False, 0.1, None)

    run = nudging(0.0, 0.1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        moves = (run(Quantize(8), context, x) - quantize(Quantize(8), context, x)).sign().numpy()

    assert np.abs(moves).mean() == pytest.approx(0.1, rel=0.1)
    directions = [set(np.unique(moves[:, channel])) - {0} for channel in range(8)]
    assert all(len(found) == 1 for found in directions)
    assert set().union(*directions) == {-1, 1}


@pytest.mark.parametrize(
    "name",
    [pytest.param("w8a8", marks=pytest.mark.needs_exact_int8), *sorted(CODED.keys() - {"w8a8"})],
)
def test_a_right_file_stays_within_the_bounds(name: str, images: TensorSplit) -> None:
    model = random_model(network(CODED[name]), np.random.default_rng(0))
    reference = logits(model, images).numpy()

    bounds = nudged_bounds(model, images, reference, rounds_biases=True)

    report = check_parity(reference, {"onnx": file_outputs(model, images)}, {"onnx": bounds})
    assert report.differences["onnx"] <= bounds.largest


@pytest.mark.parametrize("name", CODED)
def test_a_wrong_file_does_not(name: str, images: TensorSplit) -> None:
    model = random_model(network(CODED[name], "plain"), np.random.default_rng(0))
    reference = logits(model, images).numpy()
    bounds = nudged_bounds(model, images, reference, rounds_biases=False)

    def wrong(array_name: str, array: Array) -> Array:
        return array * 1.01 if array_name == "layer1.conv.norm.weight" else array

    assert "layer1.conv.norm.weight" in model.arrays
    outputs = {"onnx": file_outputs(with_arrays(model, wrong), images)}
    assert bounds.typical == LIMIT
    with pytest.raises(ParityError, match="onnx differs"):
        check_parity(reference, outputs, {"onnx": bounds})


def test_runs_are_repeatable_and_leave_the_model_alone(images: TensorSplit) -> None:
    model = random_model(network(PRECISIONS["w4a4"]), np.random.default_rng(0))
    reference = logits(model, images).numpy()

    first, again, other = (nudged_logits(model, images, 0.01, 0.0, seed) for seed in (0, 0, 1))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(logits(model, images).numpy(), reference)
    assert np.array_equal(nudged_logits(model, images, 0.0, 0.0, 0), reference)


def test_real_networks_have_no_codes() -> None:
    assert not has_codes(network(PRECISIONS["fp32"]))
    assert not has_codes(network(PRECISIONS["bwn"], "plain"))
    assert has_codes(network(PRECISIONS["xnor"]))
