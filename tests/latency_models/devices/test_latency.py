"""Latencies: summaries are exact, files round-trip, nonsense is refused."""

import json
from dataclasses import replace

import pytest

from latency_models.devices.latency import Conditions, Latency, from_json, summarise, to_json
from search_spaces.graphs.errors import UserError

CONDITIONS = Conditions(
    device="host",
    cpu="Some CPU",
    runtime="tvm",
    runtime_version="0.27",
    target="znver5",
    tuned=False,
    threads=1,
    input_shape=(1, 3, 32, 32),
    precision="fp32",
    runs=20,
    cache="warm",
    reference_ms=0.66,
    drift=1.02,
    date="2026-01-02T03:04:05+00:00",
)


def test_the_median_forgives_one_slow_run() -> None:
    latency = summarise([5.0, 1.0, 3.0, 100.0, 4.0], CONDITIONS)

    assert latency == Latency(4.0, 2.0, "measured", CONDITIONS)


@pytest.mark.parametrize("conditions", [CONDITIONS, None])
def test_a_latency_survives_its_file(conditions: Conditions | None) -> None:
    latency = Latency(4.0, 2.0, "measured", conditions)

    assert from_json(json.loads(json.dumps(to_json(latency)))) == latency


def test_that_a_prediction_extrapolates_stands_behind_the_models_name_in_files() -> None:
    latency = Latency(4.0, 2.0, "predicted", model="learned", extrapolated=True)

    data = to_json(latency)

    assert data["model"] == latency.predicted_by == "learned (extrapolated)"
    assert "extrapolated" not in data
    assert from_json(data) == latency
    assert to_json(replace(latency, extrapolated=False))["model"] == "learned"


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_latency_must_be_positive(bad: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Latency(bad, 0.0, "measured")


def test_a_spread_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        replace(Latency(1.0, 0.0, "measured"), spread_ms=-1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "hwnas.architecture"}, "no latency"),
        ({"version": 3}, "of version 3"),
        ({"median": 3.0}, "damaged: it has no field 'median'"),
        ({"conditions": {"input_shape": [1]}}, "damaged: conditions lacks 'device'"),
        ({"median_ms": float("inf")}, "median_ms must be a finite number, got inf"),
        ({"median_ms": "4"}, "median_ms must be a finite number, got '4'"),
        ({"interval": {"low_ms": float("nan"), "high_ms": 1.0}}, "interval.low_ms must be a fin"),
        ({"model": 3}, "model must be a text, got 3"),
    ],
)
def test_what_is_no_latency_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(to_json(Latency(4.0, 2.0, "measured")) | change)
