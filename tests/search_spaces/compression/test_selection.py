"""What is selected takes enough away, is the least important, and leaves every layer its floor."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.importance import Numbers, importance
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.selection import Measure, Rules, Scope, Selection, select
from search_spaces.graphs.cost import count_macs, count_params
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.networks import get_network
from tests.search_spaces.compression.random_graphs import graphs


@pytest.fixture(scope="module")
def model() -> Model:
    graph = get_network("resnet18")(width=0.25, resolution=32, num_classes=10)
    return random_model(graph, np.random.default_rng(0))


@pytest.fixture(scope="module")
def scores(model: Model) -> dict[str, Numbers]:
    return importance(model, channel_groups(model.graph), "norm_scale")


def widths(selection: Selection) -> dict[str, tuple[int, int]]:
    return {name: each for cut in selection.cuts for name, each in cut.layers.items()}


MEASURES = {"macs": count_macs, "params": count_params}


@pytest.mark.parametrize("of", ["macs", "params"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_as_much_goes_as_was_asked_and_not_a_unit_more(
    model: Model, scores: dict[str, Numbers], of: Measure, scope: Scope
) -> None:
    selection = select(model.graph, scores, 0.5, of, Rules(scope))
    pruned = remove_channels(model, selection.gone)

    left = MEASURES[of](pruned.graph) / MEASURES[of](model.graph)

    assert 0.48 < left <= 0.5


def test_a_ratio_of_channels_is_met_exactly(model: Model, scores: dict[str, Numbers]) -> None:
    found = widths(select(model.graph, scores, 0.5)).values()

    assert sum(after for _, after in found) / sum(before for before, _ in found) == pytest.approx(
        0.5, abs=0.005
    )


def test_per_layer_each_group_gives_the_same_share(
    model: Model, scores: dict[str, Numbers]
) -> None:
    selection = select(model.graph, scores, 0.5, rules=Rules("layer"))

    assert {after / before for before, after in widths(selection).values()} == {0.5}


def test_globally_the_least_important_of_the_network_go(
    model: Model, scores: dict[str, Numbers]
) -> None:
    selection = select(model.graph, scores, 0.3, rules=Rules(floor=0))
    each = [(cut.scores, set(cut.gone)) for cut in selection.cuts]

    gone = [values[unit] for values, units in each if values for unit in units]
    stay = [v for values, units in each if values for u, v in enumerate(values) if u not in units]

    assert max(gone) <= min(stay)


def test_no_threshold_empties_a_layer(model: Model, scores: dict[str, Numbers]) -> None:
    """One layer's scales are all below everybody else's."""
    name = "stage1.layer1.conv1"
    tiny = {**scores, name: scores[name] * 1e-6}

    before, after = widths(select(model.graph, tiny, 0.6, rules=Rules(floor=0.25)))[name]

    assert (before, after) == (32, 8)


def test_a_floor_is_kept_in_every_layer(model: Model, scores: dict[str, Numbers]) -> None:
    found = widths(select(model.graph, scores, 0.55, rules=Rules(floor=0.4)))

    assert min(after / before for before, after in found.values()) >= 0.4


@pytest.mark.parametrize("multiple", [4, 8, 16])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_widths_are_multiples_of_the_devices(
    model: Model, scores: dict[str, Numbers], multiple: int, scope: Scope
) -> None:
    found = widths(select(model.graph, scores, 0.4, "macs", Rules(scope, multiple=multiple)))

    assert all(after % multiple == 0 and after >= multiple for _, after in found.values())
    assert any(after < before for before, after in found.values())


def test_layers_narrower_than_the_multiple_stay_whole(
    model: Model, scores: dict[str, Numbers]
) -> None:
    found = widths(select(model.graph, scores, 0.2, rules=Rules(multiple=64)))

    assert all(before == after for before, after in found.values() if before < 64)


def test_groups_without_scores_stay_whole(model: Model, scores: dict[str, Numbers]) -> None:
    some = {name: each for name, each in scores.items() if "stage3" in name}

    selection = select(model.graph, some, 0.3)

    for cut in selection.cuts:
        assert (cut.scores is None) == (cut.group not in some)
        assert cut.scores is not None or cut.gone == ()


def test_nothing_goes_for_a_ratio_of_zero(model: Model, scores: dict[str, Numbers]) -> None:
    assert select(model.graph, scores, 0.0, "macs").gone == {}


@settings(max_examples=25, deadline=None)
@given(graphs(), st.sampled_from(("channels", "params")), st.sampled_from((1, 2, 3)))
def test_in_any_network_what_is_selected_can_be_removed(
    graph: Graph, of: Measure, multiple: int
) -> None:
    model = random_model(graph, np.random.default_rng(0))
    groups = channel_groups(graph)
    scores = importance(model, groups, "l1") if groups else {}
    rules = Rules(floor=0, multiple=multiple)
    try:
        selection = select(graph, scores, 0.3, of, rules)
    except UserError as error:
        assert "at most" in str(error) or "no channels" in str(error)  # noqa: PT017
        return

    pruned = remove_channels(model, selection.gone)

    for node in pruned.graph.nodes:
        before, after = graph.shapes[node.name][0], node.shape[0]
        of_one_group = any(each.size * each.width(node.name) == before for each in groups)
        if isinstance(node.operator, Conv2d) and of_one_group and before >= multiple:
            assert after == before or after % multiple == 0


def test_a_network_of_which_nothing_could_go_is_refused() -> None:
    net = GraphBuilder((3, 4, 4))
    net.add("classifier", Linear(2), net.input)

    with pytest.raises(UserError, match="no channels could go: all are the input's"):
        select(net.graph(), {}, 0.5)


def test_bad_ratios_and_rules_are_told_in_one_line(
    model: Model, scores: dict[str, Numbers]
) -> None:
    graph = model.graph

    with pytest.raises(
        UserError, match="at least 0 and below 1, so that something is left, got 1"
    ):
        select(graph, scores, 1.0)
    with pytest.raises(
        UserError, match=r"a ratio of 0.95 of the macs cannot be reached: with a f"
    ):
        select(graph, scores, 0.95, "macs", Rules(floor=0.5))
    with pytest.raises(UserError, match="a ratio is one of channels, macs, params, got 'time'"):
        select(graph, scores, 0.5, "time")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="floor must be a share between 0 and 1, got 8"):
        Rules(floor=8)
    with pytest.raises(UserError, match="multiple must be at least 1, got 0"):
        replace(Rules(), multiple=0)
    with pytest.raises(UserError, match="scope must be one of global, layer: 'all'"):
        Rules("all")  # type: ignore[arg-type]
