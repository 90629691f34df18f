"""Arrays as numpy, MedMNIST and Keras write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data.sources.registry import load, make_source
from search_spaces.graphs.errors import UserError
from tests.nas.parts.pictures import npy_file, picture


def saved(path: Path, **arrays: NDArray[Any]) -> str:
    np.savez(path / "a.npz", **arrays)  # type: ignore[arg-type]  # its stub has allow_pickle
    return str(path / "a.npz")


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((4, 6, 5), "auto", (1, 6, 5)),
        ((4, 6, 5, 3), "auto", (3, 6, 5)),
        ((4, 6, 5, 1), "auto", (1, 6, 5)),
        ((4, 3, 6, 5), "auto", (3, 6, 5)),
        ((4, 1, 6, 5), "auto", (1, 6, 5)),
        ((4, 3, 6, 3), "NCHW", (3, 6, 3)),
        ((4, 3, 6, 3), "NHWC", (3, 3, 6)),
    ],
)
def test_layouts_are_told_apart(
    shape: tuple[int, ...], layout: str, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = saved(tmp_path, images=images, labels=np.array([0, 1, 0, 1], np.uint8))

    data = load(make_source("npz", path=path, layout=layout)).data

    assert data.image_shape == expected
    first_channel = images[0] if images.ndim == 3 else images[0, ..., 0]
    if layout == "NCHW" or shape[1] in (1, 3):
        first_channel = images[0, 0] if layout != "NHWC" else images[0, ..., 0]
    assert np.array_equal(data.images[0, ..., 0], first_channel)


def test_test_arrays_are_the_test_split(tmp_path: Path) -> None:
    images = np.zeros((4, 6, 5), np.uint8)
    labels = np.array([0, 1, 0, 1])
    path = saved(
        tmp_path, images=images, labels=labels, test_images=images[:2], test_labels=labels[:2]
    )

    test = load(make_source("npz", path=path)).test

    assert test is not None
    assert len(test) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 3, 6, 3), np.uint8)}, "can be NHWC or NCHW; set layout"),
        (
            {"images": np.zeros((4, 6, 5, 2), np.uint8)},
            r"1, 3 or 4 channels, got shape \(4, 6, 5, 2\)",
        ),
        ({"images": np.zeros((4, 30), np.uint8)}, r"\(N, H, W, C\), got \(4, 30\)"),
        ({"images": np.full((4, 6, 5), -0.5)}, r"floats in 0\.\.1, got float64 in -0.5\.\.-0.5"),
        ({"images": np.full((4, 6, 5), np.nan)}, "pixels must be finite, got NaN"),
        ({"images": np.full((4, 6, 5), 1j)}, "images must be numbers, got complex128"),
        ({"images": np.zeros((3, 6, 5), np.uint8)}, "got 3 in images and 4 in labels"),
        ({"images": np.zeros((0, 6, 5), np.uint8)}, r"got \(0, 6, 5\)"),
        ({"labels": np.array([0, 1, 2, 9])}, "no gap, got 9 as the largest and no image of 3"),
        ({"labels": np.ones((4, 4), int)}, r"one-hot .* got \[1 1 1 1\] in row 0"),
        ({"labels": np.array([0, 1, None, 1], object)}, "no readable .npz of plain arrays"),
        ({"test_images": np.zeros((2, 6, 5), np.uint8)}, "there is no array 'test_labels'"),
    ],
)
def test_wrong_arrays_are_refused(
    arrays: dict[str, NDArray[Any]], message: str, tmp_path: Path
) -> None:
    good = {"images": np.zeros((4, 6, 5), np.uint8), "labels": np.array([0, 1, 0, 1])}
    path = saved(tmp_path, **(good | arrays))

    with pytest.raises(UserError, match=message):
        load(make_source("npz", path=path))


def test_a_missing_array_lists_those_that_are_there(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.zeros(3), y=np.zeros(3))

    with pytest.raises(
        UserError, match=r"no array 'images'; its arrays are x \(float64, 3\), y .* images: NAME"
    ):
        load(make_source("npz", path=path))


@pytest.mark.parametrize("content", [b"", b"something", b"PK\x03\x04 broken", npy_file()])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)

    with pytest.raises(UserError, match=r"a\.npz: the file is no readable \.npz"):
        load(make_source("npz", path=str(tmp_path / "a.npz")))


@pytest.mark.parametrize(
    "names",
    [
        (
            "images",
            "labels",
            "validation_images",
            "validation_labels",
            "test_images",
            "test_labels",
        ),
        ("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
    ],
)
def test_arrays_named_by_us_medmnist_and_keras_are_the_three_parts(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    sizes = (6, 6, 4, 4, 2, 2)
    arrays = {
        name: np.full((size, 3, 3), size, np.uint8) if index % 2 == 0 else np.arange(size) % 2
        for index, (name, size) in enumerate(zip(names, sizes, strict=True))
    }

    loaded = load(make_source("npz", path=saved(tmp_path, **arrays)))

    assert len(loaded.data) == 6
    assert loaded.validation is not None
    assert (len(loaded.validation), loaded.validation.images.max()) == (4, 4)
    assert loaded.test is not None
    assert (len(loaded.test), loaded.test.images.max()) == (2, 2)


def test_other_names_are_settings(tmp_path: Path) -> None:
    path = saved(tmp_path, pics=np.ones((4, 3, 3), np.uint8), kinds=np.array([0, 1, 0, 1]))

    data = load(make_source("npz", path=path, images="pics", labels="kinds")).data

    assert data.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([[0], [1], [1], [0]], np.uint8), ("0", "1")),
        (np.eye(2)[[0, 1, 1, 0]], ("0", "1")),
        (np.eye(2, dtype=bool)[[0, 1, 1, 0]], ("0", "1")),
        (np.array(["a", "b", "b", "a"]), ("a", "b")),
        (np.array([False, True, True, False]), ("false", "true")),
        (np.array([0.0, 1.0, 1.0, 0.0]), ("0", "1")),
    ],
)
def test_labels_in_a_column_one_hot_or_by_name_are_numbered(
    labels: NDArray[Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    path = saved(tmp_path, images=np.ones((4, 3, 3), np.uint8), labels=labels)

    data = load(make_source("npz", path=path)).data

    assert data.class_names == names
    assert data.labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((0, 128, 65535), np.uint16, (0, 0, 255)),
        ((0, 257, 25700), ">u2", (0, 1, 100)),
        ((0, 7, 255), np.uint16, (0, 7, 255)),
        ((0, 7, 255), np.int64, (0, 7, 255)),
        ((0, 0.5, 1), np.float32, (0, 128, 255)),
        ((0, 0.6, 254.6), np.float64, (0, 1, 255)),
        ((0, 1, 1), np.bool_, (0, 255, 255)),
    ],
)
def test_other_types_become_bytes_by_a_rule_that_is_said(
    values: tuple[float, ...],
    dtype: Any,  # noqa: ANN401
    expected: tuple[int, ...],
    tmp_path: Path,
) -> None:
    images = np.array(values).astype(dtype).reshape(3, 1, 1)
    path = saved(tmp_path, images=images, labels=np.array([0, 1, 1]))

    loaded = load(make_source("npz", path=path))

    assert loaded.data.images.ravel().tolist() == list(expected)
    assert images.dtype == bool or "images of" in loaded.notes[0]


def test_parts_share_one_rule(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    path = saved(
        tmp_path,
        images=np.array([0.0, 200.0]).reshape(2, 1, 1),
        labels=labels,
        test_images=np.array([0.0, 1.0]).reshape(2, 1, 1),
        test_labels=labels,
    )

    test = load(make_source("npz", path=path)).test

    assert test is not None
    assert test.images.ravel().tolist() == [0, 1]  # and not 255


def test_four_channels_are_composited_and_fortran_order_is_read(tmp_path: Path) -> None:
    pixels = np.stack([np.asarray(picture(n, mode="RGBA")) for n in range(2)])
    colours = np.asfortranarray(pixels)
    colours[0, 0, 0] = (9, 9, 9, 0)
    path = saved(tmp_path, images=colours, labels=np.array([0, 1]))

    data = load(make_source("npz", path=path, background="#102030")).data

    assert data.images[0, 0, 0].tolist() == [0x10, 0x20, 0x30]
    assert np.array_equal(data.images[1], np.asarray(picture(1)))
