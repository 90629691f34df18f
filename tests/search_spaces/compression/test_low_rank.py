"""Factors are the layer at full rank, as near as can be below, and keep what stands around it."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.compression import factors
from search_spaces.compression.factors import Matrix, Rank
from search_spaces.compression.low_rank import (
    SCHEMES,
    candidates,
    substituted,
    within_macs,
)
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Add, Conv2d, Linear, Norm
from search_spaces.graphs.precision import W8A8
from search_spaces.networks import get_network
from tests import oracle

FULL = Rank(energy=1.0)
NORMS: tuple[Norm, ...] = ("none", "batch")


def around(conv: Conv2d, channels: int = 6) -> Model:
    """A convolution called conv behind a stem, and a classifier, with random weights."""
    net = GraphBuilder((3, 9, 8))
    x = net.add("conv", conv, net.add("stem", Conv2d(channels, (3, 3)), net.input))
    net.add("classifier", Linear(4), x)
    return random_model(net.graph(), np.random.default_rng(0))


def output(model: Model, seed: int = 1) -> Matrix:
    x = np.random.default_rng(seed).normal(size=(3, *model.graph.input_shape))
    return oracle.run(model, x)[model.graph.output.name]


@st.composite
def convs(draw: st.DrawFn) -> Conv2d:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return Conv2d(
        draw(st.integers(1, 7)),
        draw(pair),
        stride=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        padding=draw(st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        norm=draw(st.sampled_from(NORMS)),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from(("none", "relu", "hardswish"))),
        end_padding=draw(st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2))),
    )


@settings(max_examples=25, deadline=None)
@given(convs())
def test_at_full_rank_every_scheme_computes_what_the_layer_does(conv: Conv2d) -> None:
    model = around(conv)
    wanted = output(model)
    count = oracle_responses(model)

    for scheme, found in candidates(model, "conv", FULL, count).items():
        again = output(substituted(model, found))
        # Weights are kept in float32.
        assert np.abs(again - wanted).max() <= 1e-5 * np.abs(wanted).max(), scheme
        assert found.error < 1e-6


def linear_part(model: Model, name: str) -> Model:
    """Returns the model up to a layer, which then has no bias, norm and activation.

    What it gives on data, with pixels as samples, are the layer's responses (samples, O).
    """
    node = model.graph.node(name)
    operator = node.operator
    assert isinstance(operator, Conv2d | Linear)
    bare = replace(node, operator=replace(operator, bias=False, norm="none", activation="none"))
    needed, nodes = {name}, []
    for each in reversed(model.graph.nodes):
        if each.name in needed:
            nodes.append(bare if each.name == name else each)
            needed.update(each.inputs)
    graph = Graph(model.graph.input_shape, tuple(reversed(nodes)))
    return Model(graph, {array: model.arrays[array] for array in graph.array_shapes()})


def oracle_responses(model: Model, name: str = "conv") -> Matrix:
    """What a layer gives before bias, norm and activation (samples, O)."""
    part = linear_part(model, name)
    x = np.random.default_rng(5).normal(size=(3, *model.graph.input_shape))
    y = oracle.run(part, x)[name]
    return np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])


def test_a_linear_layer_at_full_rank_is_two_and_reads_the_map_flattened() -> None:
    model = around(Conv2d(5))

    found = candidates(model, "classifier", FULL)["svd"]
    again = substituted(model, found)

    first, last = found.nodes
    assert (first.name, last.name) == ("classifier.factor1", "classifier")
    assert first.operator == Linear(4, bias=False)
    assert last.operator == model.graph.output.operator
    assert np.allclose(output(again), output(model), rtol=1e-5, atol=1e-6)


kernels = st.integers(0, 1 << 16).map(
    lambda seed: np.random.default_rng(seed).normal(size=(8, 6, 3, 3))
)


@settings(max_examples=15, deadline=None)
@given(kernels, st.integers(1, 6))
def test_the_error_is_what_the_discarded_singular_values_say(kernel: Matrix, rank: int) -> None:
    unfolded = {
        "spatial": kernel.transpose(1, 2, 0, 3).reshape(18, 24),
        "channel_in": kernel.transpose(1, 0, 2, 3).reshape(6, 72),
        "channel_out": kernel.reshape(8, 54),
    }
    for scheme, matrix in unfolded.items():
        values = np.linalg.svd(matrix, compute_uv=False)
        whole = factors.product(SCHEMES[scheme](kernel, Rank(count=rank)))

        wanted = sqrt((values[rank:] ** 2).sum())
        assert np.linalg.norm(whole - kernel) == pytest.approx(wanted, rel=1e-7, abs=1e-10)


@settings(max_examples=15, deadline=None)
@given(kernels, st.integers(1, 5), st.integers(0, 1 << 16))
def test_no_random_factors_of_the_same_rank_come_nearer(
    kernel: Matrix, rank: int, seed: int
) -> None:
    """Random ones have the best last factor for what they begin with, by least squares."""
    rng = np.random.default_rng(seed)
    matrix = kernel.reshape(8, 54)
    ours = factors.product(factors.fewer_outputs(kernel, Rank(count=rank)))

    for _ in range(10):
        right = rng.normal(size=(rank, 54))
        left = np.linalg.lstsq(right.T, matrix.T, rcond=None)[0].T
        assert np.linalg.norm(ours - kernel) < np.linalg.norm(left @ right - matrix)


@settings(max_examples=15, deadline=None)
@given(kernels, st.integers(1, 5))
def test_tucker_is_between_its_bound_and_the_higher_order_svd(kernel: Matrix, rank: int) -> None:
    _, into = factors.mode_vectors(kernel, 1)
    _, out = factors.mode_vectors(kernel, 0)
    into, out = into[:, :rank] @ into[:, :rank].T, out[:, :rank] @ out[:, :rank].T
    hosvd = np.linalg.norm(kernel - np.einsum("oiyx,op,ij->pjyx", kernel, out, into))
    single = [np.linalg.svd(m, compute_uv=False) for m in (kernel.reshape(8, 54),)]

    ours = np.linalg.norm(kernel - factors.product(factors.tucker(kernel, Rank(count=rank))))

    assert sqrt((single[0][rank:] ** 2).sum()) - 1e-9 <= ours <= hosvd + 1e-9


def test_the_energy_kept_is_what_was_asked_and_no_rank_too_many() -> None:
    energies = np.array([8.0, 4.0, 2.0, 1.0, 1.0])

    assert [Rank(energy=e).of(energies) for e in (0.5, 0.51, 0.75, 0.9, 1.0)] == [1, 2, 2, 4, 5]
    assert Rank(energy=0.5, multiple=4).of(energies) == 4
    assert Rank(energy=0.9, multiple=4).of(energies) == 4
    assert Rank(energy=1.0, multiple=4).of(energies) == 5
    assert Rank(energy=1.0).of(np.array([4.0, 0.0])) == 1
    assert Rank(count=3, multiple=2).of(energies) == 4
    assert Rank(count=99).of(energies) == 5


def test_on_data_in_a_subspace_responses_are_kept_and_weights_need_not_be() -> None:
    """Inputs vary in two directions only, so two filters suffice for whatever the layer has."""
    model = around(Conv2d(8, norm="none", bias=True), channels=6)
    kernel = model.arrays["conv.weight"].astype(np.float64)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=6)
    responses = inputs @ kernel[:, :, 0, 0].T

    found = candidates(model, "conv", Rank(count=2), responses)
    first, second = (found["responses"].arrays[n] for n in ("conv.factor1.weight", "conv.weight"))
    bias = found["responses"].arrays["conv.bias"] - model.arrays["conv.bias"]
    again = inputs @ first[:, :, 0, 0].T @ second[:, :, 0, 0].T + bias

    assert np.abs(again - responses).max() < 1e-5
    assert found["responses"].error > 0.1
    assert found["channel_out"].error <= found["responses"].error


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_on_data_a_layer_is_nearer_than_without(norm: Norm, bias: bool) -> None:
    model = around(Conv2d(8, (3, 3), norm=norm, bias=bias, activation="none"))
    x = np.random.default_rng(5).normal(size=(3, *model.graph.input_shape))
    wanted = oracle.run(model, x)["conv"]
    found = candidates(model, "conv", Rank(count=3), oracle_responses(model))

    def lost(scheme: str) -> float:
        y = oracle.run(substituted(model, found[scheme]), x)["conv"]
        scale = model.arrays["conv.norm.weight"] if norm == "batch" else np.ones(8)
        deviation = np.sqrt(model.arrays["conv.norm.variance"] + 1e-5) if norm == "batch" else 1
        return float(np.linalg.norm((y - wanted) / (scale / deviation)[:, None, None]))

    assert lost("responses") < lost("channel_out")


def test_a_sum_still_joins_the_last_factor_which_keeps_its_name() -> None:
    net = GraphBuilder((3, 5, 5))
    x = net.add("stem", Conv2d(16), net.input)
    y = net.add("conv", Conv2d(16, (3, 3), activation="none"), x)
    net.add("classifier", Linear(4), net.add("sum", Add("relu"), x, y))
    model = random_model(net.graph(), np.random.default_rng(0))

    found = candidates(model, "conv", Rank(count=4))["spatial"]
    again = substituted(model, found)

    made = [node.name for node in found.nodes]
    assert [node.name for node in again.graph.nodes] == ["stem", *made, "sum", "classifier"]
    assert made[-1] == "conv"
    assert again.graph.node("sum").inputs == ("stem", "conv")
    assert again.graph.array_shapes().keys() >= {"conv.norm.weight", "conv.factor1.weight"}
    assert not any(name.startswith("conv.factor1.norm") for name in again.arrays)


def test_macs_are_those_that_the_factors_take() -> None:
    model = around(Conv2d(32, (3, 3)), channels=32)
    before = count_macs(model.graph)

    for found in candidates(model, "conv", Rank(count=4)).values():
        after = count_macs(substituted(model, found).graph)
        assert before - after == found.macs[0] - found.macs[1]
        assert found.saves


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["conv", "classifier"])
def test_a_share_of_the_macs_is_met_and_one_rank_more_would_exceed_it(
    share: float, name: str
) -> None:
    model = around(Conv2d(16, (3, 3), stride=(2, 1)), channels=16)

    for scheme, found in within_macs(model, name, share).items():
        more = candidates(model, name, Rank(count=max(found.ranks) + 1))[scheme]
        assert found.macs[1] <= share * found.macs[0] < more.macs[1]
    assert len(within_macs(model, "conv", share)) == 4
    assert all(each.ranks[0] % 4 == 0 for each in within_macs(model, "conv", share, 4).values())


def test_a_share_that_no_rank_meets_is_met_by_none() -> None:
    model = around(Conv2d(2, (3, 3)), channels=2)

    assert within_macs(model, "conv", 0.2) == {}
    with pytest.raises(UserError, match="a share of MACs must be above 0 and below 1, got 1"):
        within_macs(model, "conv", 1)


def test_what_would_not_save_says_so() -> None:
    found = candidates(around(Conv2d(4)), "conv", FULL)["channel_out"]

    assert not found.saves
    assert found.macs[1] > found.macs[0] == 1728


def test_a_factor_can_be_factorised_again() -> None:
    model = around(Conv2d(16, (3, 3)), channels=16)
    once = substituted(model, candidates(model, "conv", Rank(count=8))["spatial"])
    name = next(node.name for node in once.graph.nodes if node.name.startswith("conv.factor"))

    twice = substituted(once, candidates(once, name, FULL)["channel_out"])

    assert np.allclose(output(twice), output(once), rtol=1e-4, atol=1e-5)
    assert len({node.name for node in twice.graph.nodes}) == len(twice.graph.nodes)


def test_alexnets_linear_layers_take_a_third_of_the_multiplications() -> None:
    graph = get_network("alexnet")(width=0.125, resolution=63, num_classes=10)
    model = small = random_model(graph, np.random.default_rng(0))

    taken = [
        candidates(model, node.name, Rank(count=16))["svd"]
        for node in graph.nodes
        if isinstance(node.operator, Linear)
    ]
    taken = [each for each in taken if each.saves]
    for each in taken:
        small = substituted(small, each)

    assert len(taken) >= 2
    assert sum(each.macs[1] for each in taken) < sum(each.macs[0] for each in taken) / 3
    assert output(small).shape == (3, 10, 1, 1)


def test_layers_that_cannot_be_factorised_are_told_apart() -> None:
    grouped = around(Conv2d(6, groups=2))
    coded = around(Conv2d(8, precision=W8A8), channels=8)

    with pytest.raises(
        UserError, match="no convolution or linear layer is called 'x': stem, conv"
    ):
        candidates(grouped, "x", FULL)
    with pytest.raises(UserError, match="conv: a convolution in 2 groups is factorised already"):
        candidates(grouped, "conv", FULL)
    with pytest.raises(UserError, match="conv: layers are factorised at fp32, got w8a8; quantize"):
        candidates(coded, "conv", FULL)
    with pytest.raises(UserError, match=r"stem: responses must be \(samples, 6\) with two sampl"):
        candidates(grouped, "stem", FULL, np.zeros((4, 5)))
    with pytest.raises(UserError, match="stem: a response is not a finite number"):
        candidates(grouped, "stem", FULL, np.full((4, 6), np.nan))


def test_a_broken_weight_is_named() -> None:
    model = around(Conv2d(4))
    broken = {**model.arrays, "conv.weight": np.full_like(model.arrays["conv.weight"], np.nan)}

    with pytest.raises(UserError, match="conv: a weight is not a finite number; train or import"):
        candidates(Model(model.graph, broken), "conv", FULL)


def test_a_layer_of_zeros_has_rank_one() -> None:
    model = around(Conv2d(4, (3, 3)))
    zeros = {**model.arrays, "conv.weight": np.zeros_like(model.arrays["conv.weight"])}

    for found in candidates(Model(model.graph, zeros), "conv", Rank(energy=0.9)).values():
        assert set(found.ranks) == {1}
        assert found.error == 0


def test_bad_ranks_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match="either by its energy or by its count"):
        Rank()
    with pytest.raises(UserError, match="energy must be above 0 and at most 1, got 90"):
        Rank(energy=90)
    with pytest.raises(UserError, match="a rank must be at least 1, got 0"):
        Rank(count=0)
    with pytest.raises(UserError, match="multiple must be at least 1, got 0"):
        replace(Rank(count=1), multiple=0)
