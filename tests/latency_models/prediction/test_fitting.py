"""Fitting: which readings of a profile a model is made of."""

from dataclasses import replace
from pathlib import Path

import pytest

from latency_models.devices.cpu import AVX2
from latency_models.measurement.readings import append_readings, read_readings
from latency_models.prediction.fitting import (
    LEAST_KERNELS,
    current,
    fit_doubts,
    fit_latency_model,
    known_under,
)
from search_spaces.graphs.errors import UserError
from tests.latency_models.parts.profiles import (
    CONDITIONS,
    at,
    failed,
    graphs,
    kernel_rows,
    network_ms,
    network_rows,
    write_profile,
)
from tests.latency_models.prediction.tables import kernels

LATER = "2026-05-01T00:00:00+00:00"


def test_an_empty_profile_makes_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has 0 readings .* needs {LEAST_KERNELS}; profile for"):
        fit_latency_model(tmp_path, AVX2)
    assert fit_doubts(tmp_path, AVX2) is None
    assert len(current(tmp_path)[0]) == 0


def test_failures_alone_make_no_model(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [failed(f"k{i}") for i in range(100)])
    with pytest.raises(UserError, match="has 0 readings"):
        fit_latency_model(tmp_path, AVX2)


def test_few_kernels_make_no_model_and_say_so(tmp_path: Path) -> None:
    rows = kernel_rows(graphs(20, seed=0))
    append_readings(tmp_path, "kernels", 0, rows[: LEAST_KERNELS - 1])
    with pytest.raises(UserError, match=f"has {LEAST_KERNELS - 1} readings"):
        fit_latency_model(tmp_path, AVX2)
    append_readings(tmp_path, "kernels", 1, rows[LEAST_KERNELS - 1 : LEAST_KERNELS])
    assert fit_latency_model(tmp_path, AVX2).about["kernels"] == LEAST_KERNELS


def test_a_model_needs_no_network(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, kernel_rows(graphs(40, seed=0)))

    model = fit_latency_model(tmp_path, AVX2)

    assert model.about["networks"] == 0
    assert model.about["held_out"] is None
    graph = graphs(1, seed=0)[0]
    latency = model.latency(graph)
    assert latency.median_ms == pytest.approx(network_ms(graph), rel=0.25)
    assert latency.interval is not None
    assert latency.interval.high_ms > 1.2 * latency.median_ms


@pytest.mark.parametrize(
    "changes", [{"runtime_version": "2"}, {"cpu": "another"}, {"target": "other"}]
)
def test_readings_under_other_conditions_are_set_aside_and_counted(
    changes: dict[str, str], tmp_path: Path
) -> None:
    own = write_profile(tmp_path, conditions=at("2026-01-01T00:00:00+00:00", **changes), factor=9)
    old = len(read_readings(own, "kernels"))
    write_profile(tmp_path, conditions=at(LATER), session="two")

    model = fit_latency_model(own, AVX2)

    assert model.about["set_aside"] == old
    assert model.about["networks"] == 40
    for name, value in changes.items():
        assert model.about[name] != value
    graph = graphs(1, seed=99)[0]
    assert model.latency(graph).median_ms == pytest.approx(network_ms(graph), rel=0.1)


def test_a_network_that_was_timed_often_counts_once(tmp_path: Path) -> None:
    own = write_profile(tmp_path)
    once = fit_latency_model(own, AVX2)
    for number in range(3):
        append_readings(own, "networks", 5 + number, network_rows(graphs(40, seed=0)))
    assert fit_latency_model(own, AVX2).about["networks"] == once.about["networks"] == 40


def test_failures_beside_readings_change_nothing(tmp_path: Path) -> None:
    own = write_profile(tmp_path)
    before = fit_latency_model(own, AVX2)
    append_readings(own, "kernels", 7, [failed("odd")])
    append_readings(own, "networks", 8, [failed("odd")])
    after = fit_latency_model(own, AVX2)

    graph = graphs(1, seed=99)[0]
    assert after.latency(graph) == before.latency(graph)
    assert after.about == before.about
    assert [type(value) for value in after.about.values()] == [
        type(value) for value in before.about.values()
    ]


def test_a_busy_machines_readings_count_as_those_of_a_still_one(tmp_path: Path) -> None:
    known = graphs(200, seed=0)
    still, busy = CONDITIONS, replace(at(LATER), drift=1.25)
    own = tmp_path / "formula"
    append_readings(own, "kernels", 0, kernel_rows(known, still))
    append_readings(own, "kernels", 1, kernel_rows(known[:40], busy, 1.25, "two"))
    append_readings(own, "networks", 2, network_rows(known[:60], still))
    append_readings(own, "networks", 3, network_rows(known[60:80], busy, 1.25, "two"))

    model = fit_latency_model(own, AVX2)

    assert model.about["drift"] == 1.0
    assert model.about["held_out"]["mape"] < 0.03


def test_what_is_known_under_conditions(tmp_path: Path) -> None:
    rows = kernel_rows(graphs(2, seed=0))
    old = kernel_rows(graphs(2, seed=0), at("2026-01-01", runtime_version="0"), session="old")
    append_readings(tmp_path, "kernels", 0, [*old[:6], failed("bad", "old")])
    append_readings(tmp_path, "kernels", 1, [*rows[3:8], failed("worse", "one")])

    known = known_under(read_readings(tmp_path, "kernels"), CONDITIONS)

    assert set(known) == {*(row.text for row in rows[3:8]), "worse"}
    assert known["worse"] != known["worse"]
    assert known_under(read_readings(tmp_path / "none", "kernels"), CONDITIONS) == {}


def test_doubts_are_of_each_kernel(tmp_path: Path) -> None:
    doubts = fit_doubts(write_profile(tmp_path), AVX2)
    assert doubts is not None
    some = doubts(kernels(networks=20))
    assert some.shape == (len(kernels(networks=20)),)
    assert some.min() > 0
