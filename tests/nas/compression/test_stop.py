"""Drops are shares or points, and what is not known is not enough."""

import numpy as np
import pytest

from nas.compression.stop import StopRules, drop_of
from nas.problem.metrics import parse_constraint
from search_spaces.graphs.errors import UserError


@pytest.mark.parametrize(
    ("given", "share"), [(0, 0), (0.02, 0.02), ("0.5 points", 0.005), ("1 point", 0.01)]
)
def test_a_drop_is_a_share_or_points(given: object, share: float) -> None:
    assert drop_of(given) == share


@pytest.mark.parametrize("given", [0.5, 1, -0.1])
def test_a_number_that_may_mean_points_is_refused_with_what_to_write(given: float) -> None:
    with pytest.raises(UserError, match="a share of the images from 0 to") as raised:
        drop_of(given)

    assert (f"'{given:g} points'" in str(raised.value)) == (given > 0)


@pytest.mark.parametrize("given", ["half", "0.5", "-1 points", "300 points", "0.5 %"])
def test_text_that_is_no_number_of_points_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"or read '0\.5 points', got"):
        drop_of(given)


def test_a_drop_to_the_limit_is_allowed() -> None:
    rules = StopRules(max_accuracy_drop=0.01)

    assert not any(
        rules.is_broken(float(np.float32(n / 100)), float(np.float32((n - 1) / 100)))
        for n in range(1, 101)
    )
    assert rules.is_broken(0.95, 0.9399)
    assert not StopRules().is_broken(1.0, 0.0)


def test_enough_is_when_all_that_is_asked_for_is_known_and_holds() -> None:
    rules = StopRules(until=(parse_constraint("latency_ms <= 3"), parse_constraint("macs <= 9")))

    assert rules.is_enough({"latency_ms": 3.0, "macs": 9})
    assert not rules.is_enough({"latency_ms": 3.1, "macs": 9})
    assert not rules.is_enough({"macs": 9})
    assert not StopRules().is_enough({"latency_ms": 0.1})
