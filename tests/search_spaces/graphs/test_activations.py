"""Activations: the table says of each what is true of its numbers, and names no other."""

from typing import get_args

import numpy as np
import pytest

from search_spaces.graphs.activations import ACTIVATIONS, Activation
from tests import integer_oracle

F = np.float32
NUMBERS = np.sort(
    np.concatenate([np.linspace(-10, 10, 4001), np.random.default_rng(0).normal(0, 4, 2000)])
).astype(F)

of_each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def test_the_table_has_the_names_that_types_allow() -> None:
    assert tuple(ACTIVATIONS) == get_args(Activation)


@of_each_activation
def test_it_computes_what_the_oracle_does(name: Activation) -> None:
    y = ACTIVATIONS[name].compute(NUMBERS)

    assert y.dtype == F
    np.testing.assert_array_equal(y, integer_oracle.activated(name, NUMBERS))


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
