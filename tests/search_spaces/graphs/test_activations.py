"""Activations: the table says of each what is true of its numbers, and names no other."""

from typing import get_args

import numpy as np
import pytest

from search_spaces.graphs import smooth
from search_spaces.graphs.activations import ACTIVATIONS, Activation, NumpyArithmetic
from tests import integer_oracle, oracle

F = np.float32
SMOOTH: tuple[Activation, ...] = ("sigmoid", "silu", "gelu", "gelu_tanh")
# Adjacent numbers, where the last digits of neighbours show.
NEIGHBOURS = -(F(0.706).view(np.uint32) + np.arange(4000, dtype=np.uint32)).view(F)
NUMBERS = np.sort(
    np.concatenate(
        [np.linspace(-10, 10, 4001), np.random.default_rng(0).normal(0, 4, 2000), NEIGHBOURS]
    )
).astype(F)

of_each_activation = pytest.mark.parametrize("name", ACTIVATIONS)
of_each_smooth_one = pytest.mark.parametrize("name", SMOOTH)


def units(y: oracle.Map) -> oracle.Map:
    """The distance of float32 numbers at each number."""
    return np.spacing(np.abs(y).astype(F)).astype(np.float64)


def test_the_table_has_the_names_that_types_allow() -> None:
    assert tuple(ACTIVATIONS) == get_args(Activation)


@of_each_activation
def test_it_computes_what_the_oracle_does(name: Activation) -> None:
    y = ACTIVATIONS[name].compute(NUMBERS)

    assert y.dtype == F
    np.testing.assert_array_equal(y, integer_oracle.activated(name, NUMBERS))
    np.testing.assert_allclose(y, oracle.activated(name, NUMBERS.astype(float)), 1e-6, 1e-6)


@of_each_activation
def test_what_it_says_of_signs_and_order_holds(name: Activation) -> None:
    y = ACTIVATIONS[name].compute(NUMBERS)

    assert ACTIVATIONS[name].nonnegative == bool((y >= 0).all())
    assert ACTIVATIONS[name].monotone == bool((np.diff(y) >= 0).all())


@of_each_activation
def test_it_is_curved_unless_it_changes_only_numbers_outside_its_limits(name: Activation) -> None:
    y = ACTIVATIONS[name].compute(NUMBERS)
    changed = y != NUMBERS
    only_limits = bool(np.isin(y[changed], [y.min(), y.max()]).all())

    assert ACTIVATIONS[name].curved != only_limits
    limits = ACTIVATIONS[name].limits
    if limits is not None:
        np.testing.assert_array_equal(y, np.clip(NUMBERS, F(limits[0]), F(limits[1])))


# What smooth activations are worth


def test_an_exponential_is_within_a_unit_of_its_last_place() -> None:
    x = np.concatenate([np.linspace(0, 87, 60001), np.geomspace(1e-30, 1, 2001)]).astype(F)
    wanted = np.exp(-x.astype(np.float64))

    y = smooth.exponential(NumpyArithmetic(), x)

    assert np.max(np.abs(y - wanted) / units(wanted)) < 1
    assert smooth.exponential(NumpyArithmetic(), np.array([smooth.FARTHEST], F)) == 0


@of_each_smooth_one
def test_a_smooth_activation_is_as_near_as_is_said(name: Activation) -> None:
    x = np.concatenate([np.linspace(-100, 100, 20001), np.linspace(-8, 8, 40001)]).astype(F)
    wanted = oracle.activated(name, x.astype(np.float64))

    error = np.abs(ACTIVATIONS[name].compute(x) - wanted)

    assert np.all(error <= np.maximum(4e-7, 2 * units(wanted)))


@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_what_an_exponential_gates_is_right_in_its_last_places_on_both_sides(
    name: Activation,
) -> None:
    x = np.concatenate([np.linspace(-80, 80, 20001), np.geomspace(1e-35, 1, 2001)]).astype(F)
    wanted = oracle.activated(name, x.astype(np.float64))

    error = np.abs(ACTIVATIONS[name].compute(x) - wanted)

    assert np.all(error[wanted != 0] <= 3.5 * units(wanted[wanted != 0]))


@of_each_smooth_one
def test_a_smooth_activation_has_its_limits_and_keeps_what_is_no_number(name: Activation) -> None:
    far = np.array([np.inf, 3e38, 1e20, 200], F)

    above, below = (ACTIVATIONS[name].compute(sign * far) for sign in (F(1), F(-1)))

    np.testing.assert_array_equal(above, np.ones(4, F) if name == "sigmoid" else far)
    np.testing.assert_array_equal(below, np.zeros(4, F))
    payloads = np.array([0x7FC00000, 0x7FC00001, 0xFFC12345], np.uint32).view(F)
    assert np.isnan(ACTIVATIONS[name].compute(payloads)).all()
    zeros = ACTIVATIONS[name].compute(np.array([0.0, -0.0, 1e-45, -1e-40], F))
    np.testing.assert_allclose(zeros, 0.5 if name == "sigmoid" else 0, atol=1e-40)


@of_each_activation
def test_numbers_far_out_raise_no_warning(name: Activation) -> None:
    y = ACTIVATIONS[name].compute(np.array([-3e38, -1e30, -90, 90, 1e30, 3e38], F))

    assert np.isfinite(y).all()
