"""The reference kernel runs, and only a better time replaces the kept one."""

from pathlib import Path

import numpy as np
import pytest

from latency_models.measurement.reference import (
    SIDE,
    best_reference_ms,
    calibration_path,
    keep_best_reference,
    reference_call,
)


def test_the_best_time_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "reference" / "a.json"
    assert best_reference_ms(path) is None

    for reference_ms, best in ((0.7, 0.7), (0.6, 0.6), (0.9, 0.6)):
        keep_best_reference(path, reference_ms)
        assert best_reference_ms(path) == best


@pytest.mark.parametrize("text", ["", "{}", '{"best_ms": 0}', '{"best_ms": "fast"}', "[1]"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    assert best_reference_ms(path) is None
    keep_best_reference(path, 0.5)
    assert best_reference_ms(path) == 0.5


def test_machines_and_thread_counts_are_kept_apart() -> None:
    paths = {calibration_path(cpu, threads) for cpu in ("a", "b") for threads in (1, 2)}

    assert len(paths) == 4


def test_the_reference_kernel_is_a_matrix_product() -> None:
    weight = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    expected = weight.astype(np.float64) @ weight

    product = reference_call(1)().numpy()

    terms = np.abs(weight) @ np.abs(weight)  # rounding grows with these; the sums cancel
    assert (np.abs(product - expected) <= 1e-5 * terms).all()
