"""Drift: a device that became slower is noticed, by kernels that were timed before and now."""

from pathlib import Path

import pytest

from latency_models.measurement.readings import append_readings, read_readings
from latency_models.profiling.drift import Drift, find_drift
from tests.latency_models.parts.profiles import at, failed, graphs, kernel_rows


def profile(folder: Path, *factors: float) -> Drift | None:
    """Sessions one after another, each with the device so many times as slow."""
    known = graphs(4, seed=0)
    for number, factor in enumerate(factors):
        date, session = f"2026-01-0{number + 1}T00:00:00+00:00", f"session{9 - number}"
        rows = kernel_rows(known[number:], at(date), factor, session)
        append_readings(folder, "kernels", number, [*rows, failed("odd", session)])
    return find_drift(read_readings(folder, "kernels"))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.3])
def test_a_known_ratio_is_found(ratio: float, tmp_path: Path) -> None:
    drift = profile(tmp_path, 1.0, ratio)

    assert drift is not None
    assert drift.ratio == pytest.approx(ratio)
    assert (drift.low, drift.high) == pytest.approx((ratio, ratio))
    assert drift.kernels > 20
    assert drift.since == "2026-01-01T00:00:00+00:00"
    assert drift.is_notable == (ratio != 1.0)


def test_the_last_session_is_compared_with_all_before(tmp_path: Path) -> None:
    drift = profile(tmp_path, 1.0, 1.0, 2.0)
    assert drift is not None
    assert drift.ratio == pytest.approx(2.0)
    assert drift.since == "2026-01-02T00:00:00+00:00"


def test_one_session_has_no_drift(tmp_path: Path) -> None:
    assert find_drift(read_readings(tmp_path, "kernels")) is None
    assert profile(tmp_path, 1.0) is None


def test_sessions_of_other_kernels_have_no_drift(tmp_path: Path) -> None:
    rows = kernel_rows(graphs(1, seed=0))
    append_readings(tmp_path, "kernels", 0, rows[:5])
    later = kernel_rows(graphs(1, seed=0), at("2026-02-01T00:00:00"), session="two")
    append_readings(tmp_path, "kernels", 1, later[6:9])
    assert find_drift(read_readings(tmp_path, "kernels")) is None
