"""Changing precisions changes just that, and knows what each kind of layer can have."""

import pytest

from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, Quantize
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8, Precision
from search_spaces.networks import NETWORKS
from search_spaces.quantization.reprecision import (
    body,
    full_precision,
    layers,
    uniform,
    with_precision,
)


def network(name: str) -> Graph:
    for resolution in (28, 32, 64):
        try:
            return NETWORKS[name](width=0.5, resolution=resolution, num_classes=10)
        except ValueError:
            continue
    raise AssertionError(f"{name} takes no small resolution")


def precision_of(graph: Graph, name: str) -> Precision:
    operator = graph.node(name).operator
    assert isinstance(operator, Conv2d | Linear)
    return operator.precision


def small_net() -> Graph:
    net = GraphBuilder((3, 16, 16))
    x = net.add("stem", Conv2d(32, (3, 3)), net.input)
    x = net.add("depthwise", Conv2d(32, (3, 3), groups=32), x)
    x = net.add("grouped", Conv2d(64, (3, 3), groups=2), x)
    x = net.add("dilated", Conv2d(64, (3, 3), dilation=(2, 2)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("hidden", Linear(32, activation="relu"), x)
    net.add("logits", Linear(10), x)
    return net.graph()


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_every_precision(name: str, precision: Precision) -> None:
    graph = network(name)

    lowered = uniform(graph, precision)

    assert full_precision(lowered) == graph
    assert layers(lowered) == layers(graph)
    if precision == FP32:
        assert lowered == graph


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS.keys())
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_at_a_precision_is_the_one_built_at_it(name: str, precision: Precision) -> None:
    def built(precision: Precision) -> Graph:
        net = GraphBuilder((64, 8, 8))
        x = net.add("before", Conv2d(64), net.input)
        BLOCKS[name]().add_to(net, x, Layer(64, precision=precision))
        return net.graph()

    expected = built(precision)
    chosen = {name: precision_of(expected, name) for name in layers(expected)}

    assert with_precision(built(FP32), chosen) == expected


def test_only_the_named_layers_change() -> None:
    graph = small_net()

    changed = with_precision(graph, {"grouped": W8A8, "logits": PRECISIONS["w4a8"]})

    found = {name: precision_of(changed, name).name for name in layers(changed)}
    assert found == {
        "stem": "fp32",
        "depthwise": "fp32",
        "grouped": "w8a8",
        "dilated": "fp32",
        "hidden": "fp32",
        "logits": "w4a8",
    }
    assert [n.name for n in changed.nodes if isinstance(n.operator, Quantize)] == [
        "depthwise.q8",
        "hidden.q8",
    ]


def test_a_layer_takes_the_nearest_that_it_has_a_kernel_for() -> None:
    graph = small_net()
    chosen = dict.fromkeys(layers(graph), PRECISIONS["xnor_k"])

    changed = with_precision(graph, chosen)

    found = {name: precision_of(changed, name).name for name in layers(changed)}
    assert found == {
        "stem": "xnor_k",
        "depthwise": "w8a8",
        "grouped": "w8a8",
        "dilated": "xnor",
        "hidden": "xnor",
        "logits": "xnor",
    }
    bwn = with_precision(graph, dict.fromkeys(layers(graph), PRECISIONS["bwn"]))
    assert precision_of(bwn, "depthwise") == FP32


@pytest.mark.parametrize(
    ("name", "ends"), [("w8a8", "w8a8"), ("w2a2", "w8a8"), ("xnor", "w8a8"), ("bwn", "fp32")]
)
def test_the_ends_of_a_network_keep_more_bits(name: str, ends: str) -> None:
    graph = uniform(small_net(), PRECISIONS[name])

    assert precision_of(graph, "stem").name == precision_of(graph, "logits").name == ends
    assert precision_of(graph, "dilated").name == name
    kept = uniform(small_net(), PRECISIONS[name], ends=FP32)
    assert precision_of(kept, "stem") == precision_of(kept, "logits") == FP32


def test_gates_are_no_part_of_the_body() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(16), net.input)
    layer = Layer(16, precision=FP32)
    x = BLOCKS["inverted_residual"](se_ratio=0.25).add_to(net, x, layer)  # type: ignore[call-arg]
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))

    assert body(net.graph()) == ("expand", "depthwise", "project")


def test_a_network_of_one_layer_has_no_body() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("logits", Linear(10), net.input)

    assert precision_of(uniform(net.graph(), PRECISIONS["xnor"]), "logits") == W8A8


def test_what_is_no_layer_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"got 'pool'; the layers are stem, depthwise, grouped"):
        with_precision(small_net(), {"pool": W8A8})
