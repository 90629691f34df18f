"""Constraints are read strictly, and say by how much they are exceeded."""

import pytest

from nas.problem.metrics import METRICS, get_metric, parse_constraint, violations
from search_spaces.graphs.errors import UserError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("latency_ms <= 2", "latency_ms <= 2"),
        ("latency_ms<=2.5", "latency_ms <= 2.5"),
        ("  macs <=  1e6 ", "macs <= 1e+06"),
        ("accuracy >= 0.9", "accuracy >= 0.9"),
        ("accuracy>=+.5", "accuracy >= 0.5"),
    ],
)
def test_a_constraint_is_a_metric_a_side_and_a_number(text: str, shown: str) -> None:
    assert str(parse_constraint(text)) == shown
    assert str(parse_constraint(shown)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "macs", "macs <=", "<= 3", "3 >= macs", "macs < 3", "macs == 3", "macs <= many"),
        *("macs <= 3 ms", "macs <= nan", "macs <= inf", "macs >= -inf", "macs <= 1 <= 2"),
    ],
)
def test_what_is_no_constraint_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"must read 'metric <= number'.*'latency_ms <= 2'"):
        parse_constraint(text)


def test_the_size_of_an_archive_is_bounded_in_bytes_without_a_unit() -> None:
    assert str(parse_constraint("archive_bytes <= 1e4")) == "archive_bytes <= 10000"
    for text in ("archive_bytes <= 10kB", "archive_bytes <= 10 kB", "archive_bytes < 10000"):
        with pytest.raises(UserError, match="must read 'metric <= number'"):
            parse_constraint(text)


def test_qualities_are_shares_of_what_is_right_and_sizes_are_none() -> None:
    shares = {name for name, metric in METRICS.items() if metric.is_quality}

    assert shares == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert METRICS["archive_bytes"].phase == "training"


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown metric 'flops'; known metrics: accuracy, .*lat"):
        parse_constraint("flops <= 3")


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("macs <= 100", 150.0, 0.5),
        ("macs <= 100", 100.0, 0.0),
        ("macs <= 100", 80.0, -0.2),
        ("accuracy >= 0.8", 0.6, 0.25),
        ("accuracy >= 0.8", 0.8, 0.0),
        ("accuracy >= 0.8", 1.0, -0.25),
    ],
)
def test_a_violation_is_the_share_of_the_limit_that_is_exceeded(
    text: str, value: float, expected: float
) -> None:
    assert parse_constraint(text).violation(value) == pytest.approx(expected)


def test_a_limit_of_zero_still_tells_right_from_wrong() -> None:
    rule = parse_constraint("macs <= 0")

    assert rule.violation(1) > 0 >= rule.violation(0) > rule.violation(-1)


def test_only_known_values_are_held_against_a_limit() -> None:
    rules = (parse_constraint("macs <= 100"), parse_constraint("accuracy >= 0.5"))

    assert violations(rules, {"macs": 200.0}) == {"macs <= 100": 1.0}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_finite_worst_value_on_the_wrong_side(name: str) -> None:
    metric = get_metric(name)

    assert metric.name == name
    assert metric.worst * metric.sign >= 0
    assert abs(metric.worst) < float("inf")
