"""Parity: what agrees passes with its figure, what does not is named."""

import numpy as np
import pytest

from latency_models.onnx.parity import (
    LIMIT,
    SLACK,
    Bounds,
    ParityError,
    bounds_of,
    changed_answers,
    check_parity,
)

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


def test_files_with_codes_have_bounds_of_their_own() -> None:
    outputs = {"onnx": REFERENCE + 0.02, "tvm": REFERENCE}

    report = check_parity(REFERENCE, outputs, {"onnx": Bounds(0.002, 0.003)})

    assert report.limit == 0.003
    with pytest.raises(ParityError, match=r"onnx differs .* for the median image, the limit"):
        check_parity(REFERENCE, outputs, {"onnx": Bounds(0.0005, 0.003)})
    with pytest.raises(ParityError, match=r"onnx differs .* of its largest output, the limit"):
        check_parity(REFERENCE, outputs, {"onnx": Bounds(0.002, 0.0005)})
    with pytest.raises(ParityError, match="tvm differs"):
        check_parity(REFERENCE, {"tvm": REFERENCE + 0.02}, {"onnx": Bounds(1, 1)})


def test_one_image_that_differs_is_not_the_median_one() -> None:
    reference = np.ones((3, 2), np.float32)
    output = reference.copy()
    output[1] += 0.5

    check_parity(reference, {"a": output}, {"a": Bounds(LIMIT, 0.6)})
    output[2] += 0.5
    with pytest.raises(ParityError, match="for the median image"):
        check_parity(reference, {"a": output}, {"a": Bounds(LIMIT, 0.6)})


def test_bounds_are_what_moved_codes_do() -> None:
    reference = np.zeros((3, 2), np.float32)
    few = [np.array([[0, 0], [0.1, 0], [0.2, 0.3]], np.float32), reference]
    many = [reference, few[0] * np.float32(2)]

    bounds = bounds_of(reference, few, many)

    assert bounds.typical == pytest.approx(SLACK * 0.1)
    assert bounds.largest == pytest.approx(SLACK * 0.6)
    assert bounds_of(reference, [reference], [reference]) == Bounds(LIMIT, LIMIT)


def test_right_answers_may_change_by_a_tenth_of_a_point() -> None:
    assert [changed_answers(number, True) for number in (1, 360, 10_000)] == [1, 1, 10]
    assert changed_answers(10_000, False) == 0
