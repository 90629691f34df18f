"""Per-layer tables."""

import pytest

from latency_models.measurement.layer_table import LayerTimes, layer_rows, times_by_row
from latency_models.measurement.measurer import KernelLatency
from search_spaces.blocks.plain import PlainConv
from search_spaces.blocks.residual import ResidualBasic
from search_spaces.blocks.shuffle_v2 import ShuffleV2
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.networks import get_network
from tests.search_spaces.quantization.coded import chain

NETWORKS = ("squeezenet_1_1", "mobilenet_v2", "shufflenet_v2", "ghostnet", "resnet18")


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_sum_to_the_cost_of_the_network(name: str) -> None:
    graph = get_network(name)(resolution=64)
    rows, cost = layer_rows(graph), network_cost(graph)
    assert sum(row.macs for row in rows) == cost.macs
    assert sum(row.params for row in rows) == cost.params
    assert sum(row.weight_bytes for row in rows) == cost.weight_bytes
    assert sum(row.memory_access_bytes for row in rows) == cost.memory_access_bytes
    assert rows[-1].shape == graph.output.shape


def test_a_residual_sum_stands_in_the_row_of_its_convolution() -> None:
    rows = layer_rows(get_network("resnet18")(resolution=64))
    assert "conv2d + add + relu" in {row.operator for row in rows}
    assert not any(row.operator.startswith("add") for row in rows)


def test_times_and_shares_stand_in_the_rows_of_their_kernels() -> None:
    graph = get_network("lenet5")()
    names = [row.name for row in layer_rows(graph)]
    rows = layer_rows(graph, LayerTimes({names[0]: 3.0, names[1]: 1.0}))
    assert [(row.ms, row.share) for row in rows[:3]] == [(3.0, 0.75), (1.0, 0.25), (None, None)]


def test_a_change_of_layout_that_was_timed_is_a_row_without_costs() -> None:
    row = layer_rows(get_network("lenet5")(), LayerTimes({"input": 0.5}))[0]
    assert (row.name, row.macs, row.ms) == ("input", 0, 0.5)


def test_times_of_another_network_are_refused() -> None:
    with pytest.raises(UserError, match="'other', which is no kernel"):
        layer_rows(get_network("lenet5")(), LayerTimes({"other": 1.0}))


def test_a_node_that_runs_as_several_kernels_gets_their_sum() -> None:
    graph = chain(ResidualBasic(), precision="w8a8")
    names = ("stem", "stem.q8", "b0.conv2", "b0.sum", "input", "stem")
    times = [KernelLatency(name, 1.0) for name in names]

    assert times_by_row(graph, times) == {"stem": 3.0, "b0.conv2": 2.0, "input": 1.0}


def test_a_view_whose_codes_are_changed_has_a_row_where_it_stands() -> None:
    graph = chain(ShuffleV2(), precision="w8a8")
    times = LayerTimes(times_by_row(graph, [KernelLatency("b0.left", 1.0)]))

    rows = layer_rows(graph, times)

    assert [row.name for row in rows][:3] == ["stem", "b0.left", "b0.right.reduce"]
    assert (rows[1].operator, rows[1].ms, rows[1].macs) == ("change of codes", 1.0, 0)


def test_a_view_that_a_quantizer_reads_counts_with_it() -> None:
    graph = chain(ShuffleV2(), precision="w2a2", width=64, in_channels=64)

    assert times_by_row(graph, [KernelLatency("b0.right", 1.0)]) == {"b0.right.q2": 1.0}


def test_rows_tell_the_precision_of_layers_and_the_codes_they_write() -> None:
    graph = chain(ResidualBasic(), precision="w4a4")
    rows = {row.name: row for row in layer_rows(graph)}

    assert {name: row.precision for name, row in rows.items()} == {
        "stem": "fp32",
        "b0.conv1": "w4a4",
        "b0.conv2": "w4a4",
        "classifier": "fp32",
    }
    assert rows["stem"].operator == "conv2d + relu + q8 + q4"  # for the sum, and for conv1
    assert rows["b0.conv2"].operator == "conv2d + add + relu"


def test_kernels_without_weights_have_no_precision() -> None:
    rows = layer_rows(chain(PlainConv(3), precision="xnor_k"))

    assert [(row.name, row.precision) for row in rows] == [
        ("stem", "fp32"),
        ("b0.conv.magnitude", ""),
        ("b0.conv.window", ""),
        ("b0.conv", "xnor_k"),
        ("classifier", "fp32"),
    ]


def test_a_layer_that_gets_no_faster_is_marked() -> None:
    graph = chain(ResidualBasic(), precision="xnor")
    times = LayerTimes(
        {"stem": 2.0, "b0.conv1": 1.0, "b0.conv2": 3.0, "classifier": 1.0},
        {"b0.conv1": "vpopcntd", "b0.conv2": "vpopcntd"},
        {"stem": 1.0, "b0.conv1": 3.0, "b0.conv2": 3.0, "classifier": 1.0},
    )

    rows = {row.name: row for row in layer_rows(graph, times)}

    assert [name for name, row in rows.items() if row.is_no_faster] == ["b0.conv2"]
    assert (rows["b0.conv1"].instruction, rows["stem"].instruction) == ("vpopcntd", "")
    assert (rows["b0.conv1"].ms, rows["b0.conv1"].fp32_ms) == (1.0, 3.0)


def test_what_was_not_measured_is_not_marked() -> None:
    graph = chain(ResidualBasic(), precision="xnor")

    for times in (LayerTimes({}), LayerTimes({"b0.conv1": 1.0}), LayerTimes({}, {}, {"stem": 1})):
        assert not any(row.is_no_faster for row in layer_rows(graph, times))
