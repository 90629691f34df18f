"""Sparse layers are chosen by timing, on this machine, and change no output."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latency_models.boards.timing import TimingPlan
from latency_models.devices.device import Device
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.sparse_layers import SparseLayer, with_sparse_layers
from latency_models.measurement.sparse_speed import DENSITIES, sparse_speeds
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Linear
from search_spaces.graphs.precision import Sparsity

FEW = Sparsity(1 / 64, 5)
QUICK = TimingPlan(warmup_runs=1, min_runs=5, min_ms=2.0, window_ms=(0.5, 1.0), max_drift=1000)


@pytest.fixture(scope="module")
def measurer() -> Iterator[Measurer]:
    with Measurer(Device("bench", "this machine"), plan=QUICK) as measurer:
        yield measurer


def graph(*, stated: bool) -> Graph:
    """A layer of few weights, one of most of them, one too small to gain, one of all weights."""
    net, x = (made := GraphBuilder((1024, 1, 1))), made.input
    for name, width, sparsity in (
        ("few", 512, FEW),
        ("most", 256, Sparsity(0.9)),
        ("small", 16, Sparsity(0.1)),
        ("all", 10, None),
    ):
        x = net.add(name, Linear(width, sparsity=sparsity if stated else None), x)
    return net.graph()


def test_a_layer_is_sparse_where_that_was_faster_and_says_why(measurer: Measurer) -> None:
    arrays = random_model(graph(stated=True), np.random.default_rng(0)).arrays
    model = Model(graph(stated=False), arrays)
    x = np.random.default_rng(1).normal(size=(2, 1024, 1, 1)).astype(np.float32)

    chosen, layers = with_sparse_layers(model, measurer)

    few, most, small = layers
    assert few.pays
    assert few.sparsity == FEW
    assert str(few).startswith("sparse: keeps 1.6% of its weights in 5 bits; sparse ")
    assert str(most) == "dense, as it keeps 90.0% of its weights"
    assert small.dense_ms is None
    assert chosen.graph.node("few").operator == Linear(512, sparsity=FEW)
    assert [n.operator for n in chosen.graph.nodes[1:]] == [
        n.operator for n in model.graph.nodes[1:]
    ]
    dense, sparse = (measurer.logits(each, x) for each in (model, chosen))
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-4 * np.abs(dense).max())


def test_a_layer_that_is_not_faster_stays_dense() -> None:
    slower = SparseLayer("layer", FEW, dense_ms=1.0, sparse_ms=0.97)

    assert not slower.pays
    assert str(slower).startswith("dense: keeps")


def test_a_network_without_zeros_stays_as_it_is(measurer: Measurer) -> None:
    net = GraphBuilder((300, 1, 1))
    net.add("layer", Linear(100), net.input)
    model = random_model(net.graph(), np.random.default_rng(0))

    assert with_sparse_layers(model, measurer) == (model, ())


def test_a_device_says_from_which_sparsity_on_it_is_faster(
    measurer: Measurer, tmp_path: Path
) -> None:
    (row,) = found = sparse_speeds(measurer, tmp_path, (256,))
    (path,) = tmp_path.iterdir()
    written = path.read_text()

    assert row.density in (None, *DENSITIES)
    assert (row.density is not None) == (row.sparse_ms < 0.95 * row.dense_ms)
    assert sparse_speeds(measurer, tmp_path, (256,)) == found
    assert path.read_text() == written, "it was measured again"
    path.write_text(written[:-20])
    assert sparse_speeds(measurer, tmp_path, (256,))[0].size == 256
    assert path.read_text() != written[:-20], "it was not measured again"


def test_other_runtimes_have_no_sparse_kernels(tmp_path: Path) -> None:
    model = random_model(graph(stated=False), np.random.default_rng(0))
    with Measurer(Device("bench", "this machine", runtime="onnxruntime")) as other:
        with pytest.raises(UserError, match="sparse kernels are TVM's"):
            with_sparse_layers(model, other)
        with pytest.raises(UserError, match="device bench runs onnxruntime"):
            sparse_speeds(other, tmp_path)
