"""ONNX files say what the graph says: ONNX Runtime on the file agrees with torch on the model."""

import numpy as np
import onnx
import pytest
import torch

from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from nas.nn.interpreter import from_model
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import OPERATORS, Conv2d, Dropout
from tests import oracle
from tests.latency_models.parts.cases import (
    block_graphs,
    graph_of,
    network_graphs,
    operator_graphs,
    operators_in,
)

SMALL = operator_graphs() | block_graphs()
GRAPHS = SMALL | network_graphs()


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_onnx_runtime_agrees_with_torch(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    model = random_model(graph, rng)
    x = rng.normal(size=(2, *graph.input_shape)).astype(np.float32)

    got = run_session(open_session(onnx_model(model).SerializeToString()), x)

    with torch.inference_mode():
        want = from_model(model)(torch.from_numpy(x)).numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-4 * max(1, np.abs(want).max())


@pytest.mark.parametrize("graph", SMALL.values(), ids=SMALL.keys())
def test_onnx_runtime_agrees_with_the_slow_oracle(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    model = random_model(graph, rng)
    x = rng.normal(size=(1, *graph.input_shape)).astype(np.float32)

    got = run_session(open_session(onnx_model(model).SerializeToString()), x)

    want = oracle.run(model, x)[graph.output.name]
    assert np.abs(got - want.reshape(got.shape)).max() <= 1e-4 * max(1, np.abs(want).max())


def test_every_operator_is_among_the_graphs() -> None:
    assert operators_in(operator_graphs().values()) == set(OPERATORS.values())


def test_every_block_is_among_the_graphs() -> None:
    assert {name.split("-")[0] for name in block_graphs()} == set(BLOCKS)


def test_a_file_tells_its_input_and_what_it_was_given() -> None:
    model = random_model(graph_of((3, 8, 8), Conv2d(4)), np.random.default_rng(0))

    proto = onnx_model(model, name="tiny", metadata={"classes": '["cat", "dog"]'})

    properties = {row.key: row.value for row in proto.metadata_props}
    assert proto.graph.name == "tiny"
    assert properties["classes"] == '["cat", "dog"]'
    assert properties["hwnas.input_shape"] == "3,8,8"
    assert onnx.helper.printable_value_info(proto.graph.input[0]).endswith("batchx3x8x8]")


def test_arrays_keep_their_names() -> None:
    model = random_model(graph_of((3, 8, 8), Conv2d(4)), np.random.default_rng(0))

    proto = onnx_model(model)

    assert {array.name for array in proto.graph.initializer} == {"node.weight", "node.bias"}


def test_a_node_may_be_called_like_the_output() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("logits", Conv2d(4, activation="relu"), net.input)
    model = random_model(net.graph(), np.random.default_rng(0))

    assert [value.name for value in onnx_model(model).graph.output] == ["logits"]


def test_an_operator_without_a_row_is_refused_by_name() -> None:
    class Swirl(Dropout):
        __slots__ = ()

    model = Model(graph_of((3, 4, 4), Swirl(0.1)), {})

    with pytest.raises(UnsupportedOperatorError, match=r"no operator 'Swirl' \(node\)"):
        onnx_model(model)
