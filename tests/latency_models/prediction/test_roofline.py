"""Roofline: the peaks that kernels were made with are found again."""

from dataclasses import replace

import numpy as np
import pytest

from latency_models.prediction.baselines import fit_roofline_model
from latency_models.prediction.kernel_rows import KernelRows
from latency_models.prediction.roofline import Roofline, fit_roofline
from tests.latency_models.prediction.tables import kernels, split

TRUE = Roofline({"fp32": 1e7, "w8a8": 3e7, "bwn": 2e7}, 5e6, 2e-5)


def table() -> KernelRows:
    """Kernels of these three precisions and of none, as many bound by either peak."""
    rng, num = np.random.default_rng(0), 600
    precisions = rng.choice([*TRUE.macs_per_ms, ""], num)
    moved = 10 ** rng.uniform(0, 6, num)  # the least do next to nothing
    macs = np.where(precisions == "", 0.0, moved * 10 ** rng.uniform(-1, 3, num))
    some = kernels().rows(np.arange(num) % len(kernels()))
    return replace(some, precisions=precisions, macs=macs, moved_bytes=moved)


def test_it_takes_the_longer_of_arithmetic_and_memory() -> None:
    row = table().rows(np.array([0]))
    row = replace(row, precisions=np.array(["fp32"]), macs=np.array([2e7]))

    bound = replace(row, moved_bytes=np.array([5e6]))
    assert TRUE.predict(bound) == pytest.approx([2 + 2e-5])
    assert TRUE.predict(replace(bound, moved_bytes=np.array([5e7]))) == pytest.approx([10 + 2e-5])


def test_a_precision_without_a_peak_counts_as_the_slowest() -> None:
    row = table().rows(np.array([0]))
    row = replace(row, precisions=np.array(["w2a2"]), macs=np.array([1e9]))
    assert TRUE.predict(row) == pytest.approx([100.0], rel=1e-3)


def test_known_peaks_are_found() -> None:
    rows = table()
    noise = np.exp(np.random.default_rng(1).normal(scale=0.01, size=len(rows)))

    found = fit_roofline(rows, TRUE.predict(rows) * noise)

    assert found.bytes_per_ms == pytest.approx(TRUE.bytes_per_ms, rel=0.1)
    assert found.macs_per_ms.keys() == TRUE.macs_per_ms.keys()
    for name, peak in TRUE.macs_per_ms.items():
        assert found.macs_per_ms[name] == pytest.approx(peak, rel=0.1), name


def test_one_slip_of_the_clock_makes_no_peak() -> None:
    rows = table()
    times = TRUE.predict(rows)
    times[np.argmax(rows.macs)] /= 100

    found = fit_roofline(rows, times)

    assert max(found.macs_per_ms.values()) < 1.2 * max(TRUE.macs_per_ms.values())


def test_as_a_model_it_knows_how_far_it_is_off() -> None:
    rows = table()
    times = TRUE.predict(rows) * np.exp(np.random.default_rng(1).normal(scale=0.3, size=len(rows)))
    known, held_out = split(rows)

    model = fit_roofline_model(rows.rows(known), times[known])

    logarithms, doubts = model.predict(rows.rows(held_out))
    missed = np.log(times[held_out]) - logarithms
    assert 0.7 < float(np.mean(np.square(missed / doubts))) ** 0.5 < 1.4
