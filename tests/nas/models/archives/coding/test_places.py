"""Where weights are: every one in one step, learnt from what was before, near the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.archives.coding.adaptive import SymbolReader, SymbolWriter
from nas.models.archives.coding.classes import (
    MOST_WEIGHT,
    PRIOR,
    Bits,
    Odds,
    blocks,
    log2_sixteenths,
)
from nas.models.archives.coding.fitting import fitted_weights
from nas.models.archives.coding.kernel_places import KernelScan
from nas.models.archives.coding.linear_places import LinearScan, column_sums
from nas.models.archives.coding.places import (
    Shape,
    class_order,
    code_places,
    rising_order,
    rows_of,
)

kernels = st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
shapes = st.one_of(kernels, st.tuples(st.integers(1, 60), st.integers(1, 90)))


def coded(known: Bits) -> tuple[int, Bits]:
    """Returns the bytes that places take, and what they are read as."""
    shape, flat = known.shape, known.reshape(rows_of(known.shape))
    count = int(known.sum())
    weights = fitted_weights(flat, shape, count)
    writer = SymbolWriter()
    code_places(writer, shape, count, weights, flat)
    reader = SymbolReader(writer.content(), "x")
    found = code_places(reader, shape, count, weights, None)
    reader.end()
    return len(writer.content()), found.reshape(shape)


def drawn(shape: Shape, share: float, seed: int = 0) -> Bits:
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def entropy_bytes(known: Bits) -> float:
    share = known.mean()
    return -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * known.size / 8


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.01, 0.99), st.integers(0, 999))
def test_places_come_back(shape: Shape, share: float, seed: int) -> None:
    known = drawn(shape, share, seed)
    if not 0 < known.sum() < known.size:
        return

    assert (coded(known)[1] == known).all()


@given(st.integers(1, 3000), st.integers(1, 9000))
def test_every_row_is_in_one_block(rows: int, columns: int) -> None:
    found = [row for block in blocks(rows, columns) for row in range(rows)[block]]

    assert found == list(range(rows))


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 90))
def test_every_weight_of_a_linear_layer_is_in_one_step(rows: int, columns: int) -> None:
    scan, times = LinearScan((rows, columns), 1), np.zeros((rows, columns), int)
    known = drawn((rows, columns), 0.3)
    for step in scan.steps():
        for column in step.columns.reshape(-1):
            times[step.rows, column] += 1
        scan.learn(step, scan.symbols(step, known))

    assert (times == 1).all()
    assert (scan.map == known).all()


def test_places_without_order_cost_no_more_than_their_entropy_and_a_little() -> None:
    known = drawn((300, 784), 0.08)

    size, _ = coded(known)

    assert size < 1.005 * entropy_bytes(known)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_unlike_density_cost_less_than_the_entropy_of_all(axis: int) -> None:
    rng = np.random.default_rng(0)
    shares = rng.uniform(0, 0.3, (200, 1) if axis == 0 else (1, 400))
    known = (rng.random((200, 400)) < shares).astype(np.uint8)
    each = np.broadcast_to(shares, known.shape)
    ideal = -np.where(known, np.log2(each), np.log2(1 - each)).sum() / 8

    size, _ = coded(known)

    assert size < 0.97 * entropy_bytes(known)
    assert size < 1.06 * ideal


def test_kernels_that_are_kept_or_gone_whole_cost_a_fraction() -> None:
    whole = np.repeat(drawn((64, 64, 1), 0.3), 9, axis=2).reshape(64, 64, 3, 3)

    size, _ = coded(whole)

    assert size < 0.35 * entropy_bytes(whole)


def odds(scan: Odds, ones: int, total: int) -> int:
    """The logarithm of odds, in whole numbers of Python."""

    def log2(count: int) -> int:
        whole = count.bit_length() - 1
        return 16 * whole + (16 * count >> whole) - 16

    prior = scan.set_prior, scan.clear_prior
    base = log2(prior[0]) - log2(prior[1])
    return log2(PRIOR * ones + prior[0]) - log2(PRIOR * (total - ones) + prior[1]) - base


def test_features_of_kernels_are_what_loops_count() -> None:
    rng = np.random.default_rng(0)
    known = drawn((400, 9, 13), 0.3)
    scan, seen = KernelScan(known.shape, int(known.sum())), 0
    for step in scan.steps():
        place = known[step.rows, step.taps]
        found = [np.broadcast_to(one, place.shape) for one in step.features]
        before, start = known[: step.rows.start], step.taps.start
        taps = range(0, 9, 2 * start) if start else range(0)
        for _ in range(20):
            r, n, a = (int(rng.integers(side)) for side in place.shape)
            row, tap = step.rows.start + r, range(9)[step.taps][n]
            counts = [
                (int(before[:, tap, a].sum()), len(before)),
                (int(before[:, :, a].sum()), 9 * len(before)),
                (sum(int(known[row, t].sum()) for t in taps), 13 * len(taps)),
                (sum(int(known[row, t, a]) for t in taps), len(taps)),
            ]
            expected = [odds(scan.odds, *each) for each in counts]
            assert [int(one[r, n, a]) for one in found] == expected
            seen += 1
        scan.learn(step, place)

    assert seen >= 160


def test_features_of_a_linear_layer_are_what_loops_count() -> None:
    known = drawn((120, 103), 0.3)
    scan, done = LinearScan(known.shape, int(known.sum())), np.zeros_like(known)
    for step in scan.steps():
        before = known[: step.rows.start].sum(0)
        by_column = [odds(scan.odds, int(ones), step.rows.start) for ones in before]
        fours = [sum(by_column[c] for c in four) // len(four) for four in step.columns]
        rows = done[step.rows]
        known_columns = int((done[step.rows] != 0).any(0).sum())
        assert step.features[0].reshape(-1).tolist() == fours
        assert fours == sorted(fours)
        if known_columns:
            ones = [int((row == 2).sum()) for row in rows]
            assert step.features[1].reshape(-1).tolist() == [
                odds(scan.odds, each, known_columns) for each in ones
            ]
        for column in step.columns.reshape(-1):
            done[step.rows, column] = 1 + known[step.rows, column]
        scan.learn(step, scan.symbols(step, known))


def test_rising_columns_are_ordered_as_a_sort_orders_them() -> None:
    known = drawn((80, 90), 0.2)
    scan = LinearScan(known.shape, int(known.sum()))
    weights = np.array([20, 13], np.int16)
    for step in scan.steps():
        classes = np.broadcast_to(scan.odds.classes(step.features, weights), step.shape)
        order, sizes = rising_order(scan.odds, step, weights)
        wanted, counts = class_order(classes.reshape(-1))

        assert order.tolist() == wanted.tolist() == np.argsort(classes, None, "stable").tolist()
        assert sizes.tolist() == counts.tolist()
        scan.learn(step, scan.symbols(step, known))


@given(st.integers(1, 1 << 50))
def test_logarithms_are_those_of_whole_numbers(count: int) -> None:
    whole = count.bit_length() - 1

    assert log2_sixteenths(np.array([count]))[0] == 16 * whole + (16 * count >> whole) - 16


def test_sums_of_columns_do_not_overflow() -> None:
    bits = np.ones((1000, 3), np.uint8)

    assert column_sums(bits).tolist() == [1000] * 3


def test_weights_of_features_stay_within_what_a_reader_takes() -> None:
    known = np.zeros((50, 60), np.uint8)
    known[:, ::2] = 1

    weights = fitted_weights(known, known.shape, int(known.sum()))

    assert weights.min() >= 0
    assert weights.max() <= MOST_WEIGHT
