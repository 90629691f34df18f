"""Thresholds: what is compared with them gives the bits of the steps that they replace."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.kernels.epilogue import (
    LARGEST,
    SMALLEST,
    Array,
    CodeStep,
    Epilogue,
    EpilogueValues,
    SignNorm,
    in_order,
    off_zero,
    thresholds,
)
from latency_models.kernels.view import Form, View
from search_spaces.graphs.activations import ACTIVATIONS, Activation
from tests.latency_models.kernels.kernel_strategies import examples

F = np.float32
numbers = st.floats(-8, 8, width=32)
MONOTONE = tuple(name for name, row in ACTIVATIONS.items() if row.monotone)
FORMS = (Form("planes", 1), Form("planes", 2), Form("planes", 2, 2))


def reached(sums: Array, found: Array, falling: np.ndarray) -> np.ndarray:
    return np.where(falling, -sums, sums) >= found


@given(numbers, st.booleans())
@examples(60)
def test_a_threshold_is_the_first_number_that_holds(number: float, falling: bool) -> None:
    sign = F(-1) if falling else F(1)
    down = np.array([falling])

    found = thresholds(lambda x: sign * x >= F(number), down)

    around = np.nextafter(F(sign * number), np.array([-np.inf, np.inf], F))
    for x in (*around, F(sign * number)):
        assert reached(x, found, down) == (sign * x >= F(number))


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("always", [False, True])
def test_what_always_or_never_holds_does_so_for_every_number(always: bool, falling: bool) -> None:
    down = np.array([falling])

    found = thresholds(lambda x: np.full(x.shape, always), down)

    x = np.array([-3.4e38, -1, 0, 1, 3.4e38], F)
    assert (reached(x, found, down) == always).all()


def test_channels_are_searched_apart() -> None:
    wanted = np.array([-np.inf, -3, 0, 1e-30, 7, np.inf], F)

    found = thresholds(lambda x: x >= wanted, np.zeros(6, np.bool_))

    np.testing.assert_array_equal(found, [np.finfo(F).min, *wanted[1:]])


def test_places_are_in_order_and_neighbours_adjacent() -> None:
    places = np.array([-LARGEST, -2, -1, 0, 1, 2, LARGEST])
    found = in_order(places)

    assert found[0] == -found[-1] == np.finfo(F).min
    np.testing.assert_array_equal(found[1:6], np.array([-2, -1, 0, 1, 2]) * F(2**-149))
    assert not np.signbit(found[3])


def test_thresholds_of_sums_can_be_halved() -> None:
    found = np.array([1e-45, -1e-45, 0, SMALLEST, 3], F)

    kept = off_zero(found)

    np.testing.assert_array_equal(kept, np.array([SMALLEST, -SMALLEST, 0, SMALLEST, 3], F))
    whole = np.arange(-3, 4, dtype=F)[:, None]
    np.testing.assert_array_equal(whole >= kept, whole >= found)
    np.testing.assert_array_equal(whole / 2 >= kept / 2, whole >= found)


@st.composite
def channels(draw: st.DrawFn) -> tuple[Array, ...]:
    """Scale, bias, gain and offset of some channels; often zero."""
    number = numbers | st.just(0.0) | st.floats(-(2**-10), 2**-10, width=32)
    return tuple(np.array(draw(st.lists(number, min_size=5, max_size=5)), F) for _ in range(4))


@given(channels(), st.sampled_from(FORMS), st.sampled_from(MONOTONE), st.booleans())
@examples(120)
def test_packed_thresholds_give_the_codes_of_the_epilogue(
    numbers_of: tuple[Array, ...], form: Form, activation: Activation, scaled: bool
) -> None:
    scale, bias, gain, offset = numbers_of
    end = Epilogue((View(5, 1, 1, form=form),), activation, scaled=scaled)
    target = SignNorm(gain, offset) if form.bits == 1 else CodeStep.of(0.7)
    packed = end.pack(EpilogueValues((target,), scale, bias), 16, np.arange(5))
    *bounds, signs = packed.reshape(form.highest + 1, 16)
    sums = np.arange(-40, 41, dtype=F)[:, None] * (F(1) if scaled else F(0.1))

    result = ACTIVATIONS[activation].compute(sums * scale + bias if scaled else sums)
    signed = np.where(np.signbit(signs[:5]), -sums, sums)
    codes = sum(signed >= bound[:5] for bound in bounds)

    if isinstance(target, SignNorm):
        np.testing.assert_array_equal(codes, (result * gain + offset >= 0) * np.ones(5))
    else:
        wanted = np.rint(result * F(target.inverse)) + form.zero
        np.testing.assert_array_equal(codes, np.clip(wanted, 0, form.highest) * np.ones(5))
    for below, above in pairwise(bounds):
        assert (below <= above).all()
    assert np.isinf(np.array(bounds)[:, 5:]).all(), "places without a channel have no ones"
    assert not signs.any()
