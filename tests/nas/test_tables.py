"""Per-layer tables."""

import pytest

from latency_models.measure import KernelLatency
from nas.tables import layer_rows, times_by_node
from search_spaces.cost import network_cost
from search_spaces.errors import UserError
from search_spaces.networks import get_network

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
    rows = layer_rows(graph, {names[0]: 3.0, names[1]: 1.0})
    assert [(row.ms, row.share) for row in rows[:3]] == [(3.0, 0.75), (1.0, 0.25), (None, None)]


def test_a_change_of_layout_that_was_timed_is_a_row_without_costs() -> None:
    row = layer_rows(get_network("lenet5")(), {"input": 0.5})[0]
    assert (row.name, row.macs, row.ms) == ("input", 0, 0.5)


def test_times_of_another_network_are_refused() -> None:
    with pytest.raises(UserError, match="'other', which is no kernel"):
        layer_rows(get_network("lenet5")(), {"other": 1.0})


def test_a_node_that_runs_as_several_kernels_gets_their_sum() -> None:
    times = [KernelLatency("a", 1.0), KernelLatency("b", 2.0), KernelLatency("a", 0.5)]
    assert times_by_node(times) == {"a": 1.5, "b": 2.0}
