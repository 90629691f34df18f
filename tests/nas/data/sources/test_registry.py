"""Every source gives the same checked images each time, and says in one line what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.images import ImageData
from nas.data.sources.registry import SOURCES, load, make_source
from search_spaces.graphs.errors import UserError
from tests.nas.parts.pictures import encoded, image_folder, parquet_file, picture


def small_folder(root: Path) -> dict[str, Any]:
    return {"path": str(image_folder(root / "images"))}


def small_parquet(root: Path) -> dict[str, Any]:
    images = [encoded(picture(index)) for index in range(4)]
    return {"path": str(parquet_file(root / "a.parquet", images, [0, 1, 1, 0]))}


def small_npz(root: Path) -> dict[str, Any]:
    images = np.stack([np.asarray(picture(index)) for index in range(4)])
    np.savez(root / "a.npz", images=images, labels=np.array([0, 1, 1, 0]))
    return {"path": str(root / "a.npz")}


# The settings of each kind of source for two classes of small pictures.
SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "digits": lambda root: {},
    "folder": small_folder,
    "parquet": small_parquet,
    "npz": small_npz,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_checked_images_each_time(kind: str, tmp_path: Path) -> None:
    source = make_source(kind, **SETTINGS[kind](tmp_path))

    loaded = load(source)
    data, test = loaded.data, loaded.test
    again = load(source).data

    assert isinstance(data, ImageData)
    assert test is None
    assert data.fingerprint == again.fingerprint
    assert data.images.dtype == np.uint8
    assert data.images.std() > 1
    assert set(data.labels.tolist()) == set(range(data.num_classes))


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "digits"])
def test_every_source_names_a_path_that_is_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: there is no such (file|folder); give the"):
        load(make_source(kind, path=str(tmp_path / "nowhere")))


def test_an_unknown_kind_or_setting_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown data kind 'csv'; known kinds: digits, folder"):
        make_source("csv")
    with pytest.raises(UserError, match="no setting 'image_colum'; did you mean 'image_column'"):
        make_source("parquet", path="x", image_colum="jpeg")
    with pytest.raises(UserError, match="data kind 'npz' needs the setting 'path'"):
        make_source("npz")


def test_digits_are_the_1797_images_of_scikit_learn() -> None:
    data = load(make_source("digits")).data

    assert data.images.shape == (1797, 8, 8, 1)
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.class_names == tuple("0123456789")
    assert np.bincount(data.labels).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]


def test_the_fingerprint_tells_pixels_labels_and_names_apart() -> None:
    images = np.zeros((2, 4, 4, 1), np.uint8)
    labels = np.array([0, 1])
    data = ImageData("a", images, labels, ("x", "y"))

    assert ImageData("b", images.copy(), labels, ("x", "y")).fingerprint == data.fingerprint
    others = [
        ImageData("a", images + np.uint8(1), labels, ("x", "y")),
        ImageData("a", images, labels[::-1].copy(), ("x", "y")),
        ImageData("a", images, labels, ("x", "z")),
        ImageData("a", images.reshape(2, 2, 8, 1), labels, ("x", "y")),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 5
