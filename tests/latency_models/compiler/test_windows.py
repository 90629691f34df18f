"""Windows: taps that only meet padding are left out, and nothing else."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latency_models.compiler.lower import lower
from latency_models.compiler.windows import inner_window
from latency_models.devices.cpu import AVX512
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d, Linear, Size
from tests import oracle


def pairs(least: int, most: int) -> st.SearchStrategy[Size]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@pytest.mark.parametrize(
    ("size", "conv", "kernel", "first"),
    [
        ((1, 1), Conv2d(4, (3, 3)), (1, 1), (1, 1)),
        ((2, 2), Conv2d(4, (3, 3)), (3, 3), (0, 0)),
        ((1, 8), Conv2d(4, (3, 3)), (1, 3), (1, 0)),
        ((2, 2), Conv2d(4, (7, 7)), (3, 3), (2, 2)),
        ((2, 2), Conv2d(4, (3, 3), (2, 2)), (2, 2), (1, 1)),
        ((3, 3), Conv2d(4, (3, 3), padding=(0, 0)), (3, 3), (0, 0)),
        ((1, 1), Conv2d(4, (3, 3), padding=(0, 0), end_padding=(2, 2)), (1, 1), (0, 0)),
    ],
    ids=str,
)
def test_taps_that_only_meet_padding_are_left_out(
    size: Size, conv: Conv2d, kernel: Size, first: Size
) -> None:
    _, *counts = conv.output_shape((8, *size))

    inner, begin = inner_window(conv, size, (counts[0], counts[1]))

    assert (inner.kernel_size, begin) == (kernel, first)


@given(pairs(1, 6), pairs(1, 5), pairs(1, 3), pairs(0, 5), pairs(0, 5), pairs(1, 3))
def test_what_is_left_computes_the_same_map(
    size: Size, kernel: Size, stride: Size, pads: Size, ends: Size, dilation: Size
) -> None:
    rng = np.random.default_rng(0)
    conv = Conv2d(2, kernel, stride, pads, dilation, norm="none", end_padding=ends)
    try:
        _, *counts = conv.output_shape((2, *size))
    except ValueError:
        assume(False)
    x, weight = rng.normal(size=(1, 2, *size)), rng.normal(size=(2, 2, *kernel))

    inner, (row, column) = inner_window(conv, size, (counts[0], counts[1]))

    taps = (slice(row, row + inner.kernel_size[0]), slice(column, column + inner.kernel_size[1]))
    whole = oracle.conv2d(conv, {"weight": weight}, x)
    assert inner.output_shape((2, *size)) == conv.output_shape((2, *size))
    np.testing.assert_allclose(oracle.conv2d(inner, {"weight": weight[..., *taps]}, x), whole)


def test_a_map_of_one_pixel_reads_a_ninth_of_the_weights() -> None:
    net = GraphBuilder((64, 1, 1))
    net.add("head", Linear(64), net.add("conv", Conv2d(64, (3, 3)), net.input))
    model = random_model(net.graph(), np.random.default_rng(0))

    network = lower(model, AVX512, lambda kernel: kernel.default_tile(AVX512))

    conv, head = (step.kernel for step in network.steps if step.node in ("conv", "head"))
    assert conv.kernel_size == head.kernel_size == (1, 1)  # type: ignore[attr-defined]
    assert network.weights.size < 4 * (2 * 64 * 64 + 64 * 8)
