"""The interpreter computes what the operators say, under the graph's own array names."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from nas.nn.interpreter import LAYERS, Interpreter, from_model, load_arrays, model_arrays, to_model
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import (
    OPERATORS,
    ChannelShuffle,
    Conv2d,
    GlobalAvgPool,
    Linear,
    Operator,
    Scale,
)
from tests import oracle
from tests.latency_models.parts.cases import block_graphs, operator_graphs, operators_in

OPERATOR_GRAPHS = operator_graphs()
BLOCK_GRAPHS = block_graphs(channels=24, size=5)


def small_net() -> Graph:
    net = GraphBuilder((3, 9, 9))
    x = net.add("stem", Conv2d(8, (3, 3), stride=(2, 2)), net.input)
    with net.scope("stage1"):
        gate = net.add("pool", GlobalAvgPool(), x)
        gate = net.add("gate", Conv2d(8, norm="none", bias=True, activation="hardsigmoid"), gate)
        x = net.add("scaled", Scale(), x, gate)
        x = net.add("mixed", ChannelShuffle(2), x)
    x = net.add("global", GlobalAvgPool(), x)
    net.add("logits", Linear(4), x)
    return net.graph()


def inputs(graph: Graph, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *graph.input_shape)


@pytest.mark.parametrize("graph", OPERATOR_GRAPHS.values(), ids=OPERATOR_GRAPHS.keys())
def test_every_map_agrees_with_the_oracle(graph: Graph) -> None:
    model = random_model(graph, np.random.default_rng(0))
    x = inputs(graph)

    with torch.inference_mode():
        got = from_model(model).run(x, keep_maps=True)

    for name, expected in oracle.run(model, x.numpy()).items():
        assert got[name].numpy().reshape(expected.shape) == pytest.approx(expected, abs=1e-5), name


@pytest.mark.parametrize("graph", BLOCK_GRAPHS.values(), ids=BLOCK_GRAPHS.keys())
def test_every_block_agrees_with_the_oracle(graph: Graph) -> None:
    model = random_model(graph, np.random.default_rng(0))
    x = inputs(graph)

    with torch.inference_mode():
        got = from_model(model)(x).numpy()

    expected = oracle.run(model, x.numpy())[graph.output.name]
    assert got.reshape(expected.shape) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("graph", BLOCK_GRAPHS.values(), ids=BLOCK_GRAPHS.keys())
def test_channels_last_changes_no_number(graph: Graph) -> None:
    module = from_model(random_model(graph, np.random.default_rng(0)))
    x = inputs(graph)

    with torch.inference_mode():
        expected = module(x)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        got = module(x.to(memory_format=torch.channels_last))

    assert got.numpy() == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("graph", BLOCK_GRAPHS.values(), ids=BLOCK_GRAPHS.keys())
def test_every_parameter_gets_a_gradient(graph: Graph) -> None:
    module = Interpreter(graph)

    module(inputs(graph, 4)).square().mean().backward()

    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_the_cases_cover_every_operator_and_each_has_a_layer() -> None:
    assert operators_in(OPERATOR_GRAPHS.values()) == set(OPERATORS.values())
    assert set(LAYERS) == set(OPERATORS.values()) == set(oracle.OPERATIONS)


def test_arrays_have_the_names_and_shapes_of_the_graph() -> None:
    graph = small_net()
    module = Interpreter(graph)

    shapes = {name: tuple(array.shape) for name, array in module.state_dict().items()}

    assert shapes == graph.array_shapes()
    trained = {name for name, _ in module.named_parameters()}
    assert {name for name in shapes if name not in trained} == {
        "stem.norm.mean",
        "stem.norm.variance",
    }


def test_a_model_comes_back_exactly_as_it_went_in() -> None:
    model = random_model(small_net(), np.random.default_rng(1))

    back = to_model(from_model(model))

    assert back.graph == model.graph
    assert back.arrays.keys() == model.arrays.keys()
    for name, array in model.arrays.items():
        assert back.arrays[name].dtype == np.float32
        assert back.arrays[name].flags.c_contiguous
        assert np.array_equal(back.arrays[name], array)


def test_arrays_are_copies_in_both_directions() -> None:
    model = random_model(small_net(), np.random.default_rng(1))
    module = from_model(model)
    before = {name: array.copy() for name, array in model.arrays.items()}
    out = model_arrays(module)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()

    assert all(np.array_equal(model.arrays[name], array) for name, array in before.items())
    assert all(np.array_equal(out[name], array) for name, array in before.items())


def test_arrays_that_do_not_fit_are_refused() -> None:
    module = Interpreter(small_net())
    arrays = model_arrays(module)

    with pytest.raises(ValueError, match=r"needs array 'logits\.bias'"):
        load_arrays(module, {k: v for k, v in arrays.items() if k != "logits.bias"})
    with pytest.raises(ValueError, match="shape"):
        load_arrays(module, arrays | {"logits.bias": np.zeros(5, np.float32)})


def test_a_folded_model_gives_the_same_outputs() -> None:
    model = random_model(small_net(), np.random.default_rng(2))
    x = inputs(model.graph, 4)

    with torch.inference_mode():
        expected = from_model(model)(x)
        got = from_model(fold_batch_norm(model))(x)

    assert got.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_node_may_have_the_name_of_a_scope_and_of_a_module_method() -> None:
    net = GraphBuilder((3, 4, 4))
    with net.scope("a"):
        x = net.add("b", Conv2d(4), net.input)
    x = net.add("a", Conv2d(4), x)
    x = net.add("half", Conv2d(4), x)
    net.add("graph", Conv2d(4), x)

    model = random_model(net.graph(), np.random.default_rng(0))

    assert to_model(from_model(model)).arrays.keys() == model.arrays.keys()


def test_a_copy_of_a_module_has_its_own_arrays() -> None:
    graph = small_net()
    module = Interpreter(graph).eval()
    copied = deepcopy(module)
    x = inputs(graph)
    before = module(x)

    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()

    assert torch.equal(module(x), before)
    assert torch.equal(copied(x), torch.zeros(2, 4))


def test_maps_are_let_go_after_their_last_reader() -> None:
    graph = small_net()
    module = Interpreter(graph).eval()
    x = inputs(graph)

    with torch.inference_mode():
        left = module.run(x)
        kept = module.run(x, keep_maps=True)

    assert list(left) == ["logits"]
    assert list(kept) == ["input", *(node.name for node in graph.nodes)]
    assert torch.equal(left["logits"], kept["logits"])


def test_training_moves_the_norm_statistics_by_its_momentum() -> None:
    graph = small_net()
    module = Interpreter(graph, norm_momentum=1.0).train()
    x = inputs(graph, 8)

    module(x)

    convolved = torch.nn.functional.conv2d(x, module.child("stem")["weight"], None, 2, 1)
    mean = model_arrays(module)["stem.norm.mean"]
    assert mean == pytest.approx(convolved.mean((0, 2, 3)).detach().numpy(), abs=1e-5)


def test_first_weights_follow_the_generator() -> None:
    first, again, other = (
        model_arrays(Interpreter(small_net(), generator=torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    )

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["stem.weight"], other["stem.weight"])


def test_first_weights_keep_the_scale_of_maps_through_many_layers() -> None:
    net = GraphBuilder((16, 8, 8))
    x = net.input
    for index in range(20):
        x = net.add(f"conv{index}", Conv2d(32, (3, 3), norm="none", bias=True), x)
    net.add("logits", Conv2d(4), x)
    module = Interpreter(net.graph(), generator=torch.Generator().manual_seed(0)).eval()

    with torch.inference_mode():
        maps = module.run(torch.randn(8, 16, 8, 8), keep_maps=True)

    assert 0.05 < float(maps["conv19"].square().mean().sqrt()) < 5


def test_an_unknown_operator_is_refused_by_name() -> None:
    class Swirl(Scale):
        __slots__ = ()

        def output_shape(self, *inputs: tuple[int, int, int]) -> tuple[int, int, int]:
            return inputs[0]

    operator: Operator = Swirl()
    graph = Graph((3, 4, 4), (Node("odd", operator, ("input",), (3, 4, 4)),))

    with pytest.raises(
        UnsupportedOperatorError, match="odd: torch training has no operator Swirl"
    ):
        Interpreter(graph)


def test_a_graph_without_weights_runs() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("pool", GlobalAvgPool(), net.input)
    graph = net.graph()

    assert from_model(Model(graph, {}))(inputs(graph)).shape == (2, 3)
