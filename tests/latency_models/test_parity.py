"""Parity: what agrees passes with its figure, what does not is named."""

import numpy as np
import pytest

from latency_models.parity import ParityError, check_parity

REFERENCE = np.array([[10.0, -20.0], [1.0, 2.0]], np.float32)


def test_differences_are_relative_to_the_largest_output() -> None:
    report = check_parity(REFERENCE, {"onnxruntime": REFERENCE + 0.001})

    assert report.differences["onnxruntime"] == pytest.approx(0.001 / 20, rel=1e-2)
    assert report.num_images == 2


def test_small_outputs_are_compared_absolutely() -> None:
    small = np.float32(1e-3) * REFERENCE

    report = check_parity(small, {"tvm": small + np.float32(5e-5)})

    assert report.differences["tvm"] == pytest.approx(5e-5, rel=1e-2)


def test_the_back_end_that_differs_is_named_with_figures() -> None:
    outputs = {"onnxruntime": REFERENCE, "tvm": REFERENCE + 0.01}

    with pytest.raises(ParityError, match=r"tvm differs .* by 5\.00e-04 .*limit is 1e-04"):
        check_parity(REFERENCE, outputs)


def test_nan_is_no_agreement() -> None:
    with pytest.raises(ParityError, match="tvm differs"):
        check_parity(REFERENCE, {"tvm": np.full_like(REFERENCE, np.nan)})


def test_another_shape_is_no_agreement() -> None:
    with pytest.raises(ParityError, match=r"shape \(2,\)"):
        check_parity(REFERENCE, {"tvm": REFERENCE[:, 0]})
