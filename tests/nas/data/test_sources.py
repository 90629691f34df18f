"""Every source gives checked images, and says in one line what is wrong with bad ones."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas.data.images import ImageData
from nas.data.sources import SOURCES, make_source
from search_spaces.graphs.errors import UserError

CIFAR = Path(__file__).parents[3] / "../shared/data/cifar10_test.parquet"


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    """A picture of random pixels, ``size`` in (height, width)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, suffix: str = "png") -> bytes:
    stream = BytesIO()
    image.save(stream, suffix)
    return stream.getvalue()


def npy_file() -> bytes:
    stream = BytesIO()
    np.save(stream, np.zeros(3, np.uint8))
    return stream.getvalue()


def image_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 3) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(each):
            picture(10 * label + index).save(root / name / f"{index}.png")
    return root


def parquet_file(path: Path, images: list[Any], labels: list[Any]) -> Path:
    pd.DataFrame({"image": images, "label": labels}).to_parquet(path)
    return path


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

    data, test = source.load()
    again, _ = source.load()

    assert isinstance(data, ImageData)
    assert test is None
    assert data.fingerprint == again.fingerprint
    assert data.images.dtype == np.uint8
    assert data.images.std() > 1
    assert set(data.labels.tolist()) == set(range(data.num_classes))


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "digits"])
def test_every_source_names_a_path_that_is_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: there is no such (file|folder); give the"):
        make_source(kind, path=str(tmp_path / "nowhere")).load()


def test_an_unknown_kind_or_setting_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown data kind 'csv'; known kinds: digits, folder"):
        make_source("csv")
    with pytest.raises(UserError, match="no setting 'image_colum'; did you mean 'image_column'"):
        make_source("parquet", path="x", image_colum="jpeg")
    with pytest.raises(UserError, match="data kind 'npz' needs the setting 'path'"):
        make_source("npz")


def test_digits_are_the_1797_images_of_scikit_learn() -> None:
    data, _ = make_source("digits").load()

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


class TestImageFolder:
    def test_classes_are_the_sorted_folders_and_pixels_those_of_the_files(
        self, tmp_path: Path
    ) -> None:
        image_folder(tmp_path, ("dog", "cat"), each=2)
        (tmp_path / ".hidden").mkdir()
        (tmp_path / "cat" / "notes.txt").write_text("not an image")

        data, _ = make_source("folder", path=str(tmp_path)).load()

        assert data.class_names == ("cat", "dog")
        assert data.labels.tolist() == [0, 0, 1, 1]
        assert np.array_equal(data.images[0], np.asarray(picture(10)))
        assert np.array_equal(data.images[3], np.asarray(picture(1)))

    def test_grey_and_colour_are_converted_as_asked(self, tmp_path: Path) -> None:
        image_folder(tmp_path)
        picture(5, mode="L").save(tmp_path / "cat" / "grey.png")
        picture(6, mode="RGBA").save(tmp_path / "cat" / "transparent.png")
        picture(7, mode="P").save(tmp_path / "dog" / "palette.png")

        colour, _ = make_source("folder", path=str(tmp_path)).load()
        grey, _ = make_source("folder", path=str(tmp_path), channels=1).load()

        assert colour.images.shape == (9, 6, 5, 3)
        assert grey.images.shape == (9, 6, 5, 1)
        assert np.array_equal(grey.images[3, ..., 0], np.asarray(picture(5, mode="L")))

    def test_sizes_that_differ_need_a_resolution(self, tmp_path: Path) -> None:
        image_folder(tmp_path)
        picture(5, (9, 9)).save(tmp_path / "dog" / "large.png")

        with pytest.raises(UserError, match=r"large\.png: .*one size, got 9x9 after 6x5.*resolut"):
            make_source("folder", path=str(tmp_path)).load()

        data, _ = make_source("folder", path=str(tmp_path), resolution=(4, 7)).load()
        assert data.image_shape == (3, 4, 7)

    def test_a_test_folder_is_resized_like_the_first(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "train")
        for name in ("cat", "dog"):
            (tmp_path / "test" / name).mkdir(parents=True)
            picture(3, (12, 10)).save(tmp_path / "test" / name / "a.jpg")

        paths = {"path": str(tmp_path / "train"), "test_path": str(tmp_path / "test")}
        data, test = make_source("folder", **paths).load()

        assert test is not None
        assert (data.image_shape, test.image_shape) == ((3, 6, 5), (3, 6, 5))

    def test_a_test_folder_with_other_classes_is_refused(self, tmp_path: Path) -> None:
        image_folder(tmp_path / "train")
        image_folder(tmp_path / "test", ("cat", "cow"))

        paths = {"path": str(tmp_path / "train"), "test_path": str(tmp_path / "test")}
        with pytest.raises(UserError, match="class 'cow' is only in one of them"):
            make_source("folder", **paths).load()

    @pytest.mark.parametrize(
        "content", [b"no image at all", b"", encoded(picture(0, (40, 40)))[:-200]]
    )
    def test_a_corrupt_image_is_named(self, content: bytes, tmp_path: Path) -> None:
        image_folder(tmp_path)
        (tmp_path / "dog" / "broken.png").write_bytes(content)

        with pytest.raises(UserError, match=r"dog/broken\.png: the image cannot be read \(.*repl"):
            make_source("folder", path=str(tmp_path), resolution=(6, 6)).load()

    def test_sixteen_bits_a_channel_are_refused(self, tmp_path: Path) -> None:
        image_folder(tmp_path)
        deep = Image.fromarray(np.full((6, 5), 40_000, np.uint16))
        deep.save(tmp_path / "dog" / "deep.png")

        with pytest.raises(UserError, match=r"deep\.png: images must have 8 bits .* got mode 'I"):
            make_source("folder", path=str(tmp_path)).load()

    def test_one_class_no_class_and_an_empty_class_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="needs one sub-folder a class, got none"):
            make_source("folder", path=str(tmp_path)).load()

        image_folder(tmp_path, ("cat",))
        with pytest.raises(UserError, match=r"at least two classes, got one \(cat\)"):
            make_source("folder", path=str(tmp_path)).load()

        (tmp_path / "dog").mkdir()
        with pytest.raises(UserError, match=r"dog: every class folder needs images .*, got none"):
            make_source("folder", path=str(tmp_path)).load()

    def test_channels_and_resolution_are_checked(self, tmp_path: Path) -> None:
        image_folder(tmp_path)

        with pytest.raises(UserError, match=r"channels must be 1 .* or 3 .*, got 2"):
            make_source("folder", path=str(tmp_path), channels=2).load()
        with pytest.raises(UserError, match="resolution must be at least 1x1, got"):
            make_source("folder", path=str(tmp_path), resolution=(0, 8)).load()
        with pytest.raises(UserError, match=r"decode to .* GiB and .* GiB of memory are free"):
            make_source("folder", path=str(tmp_path), resolution=(200_000, 100_000)).load()


class TestParquet:
    def test_columns_and_class_names_may_be_given(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        images = [encoded(picture(index)) for index in range(3)]
        pd.DataFrame({"png": images, "kind": np.array([2, 0, 1], np.int8)}).to_parquet(path)

        source = make_source(
            "parquet",
            path=str(path),
            image_column="png",
            label_column="kind",
            class_names=("a", "b", "c"),
        )
        data, _ = source.load()

        assert data.labels.tolist() == [2, 0, 1]
        assert data.class_names == ("a", "b", "c")
        assert np.array_equal(data.images[1], np.asarray(picture(1)))

    def test_a_column_that_is_not_there_lists_those_that_are(self, tmp_path: Path) -> None:
        settings = small_parquet(tmp_path)

        with pytest.raises(UserError, match="no column 'jpeg'; its columns are image, label; set"):
            make_source("parquet", **settings, image_column="jpeg").load()

    def test_a_corrupt_image_is_named_by_its_row(self, tmp_path: Path) -> None:
        path = parquet_file(tmp_path / "a.parquet", [encoded(picture(0)), b"no image"], [0, 1])

        with pytest.raises(UserError, match=r"a\.parquet, row 1: the image cannot be read"):
            make_source("parquet", path=str(path)).load()

    def test_a_column_without_bytes_is_refused(self, tmp_path: Path) -> None:
        path = parquet_file(tmp_path / "a.parquet", ["a.png", "b.png"], [0, 1])

        with pytest.raises(UserError, match=r"row 0: column 'image' must hold .* bytes, got str"):
            make_source("parquet", path=str(path)).load()

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 5], r"no gap, got 5 as the largest and no image of 1"),
            ([0, -1], r"labels must be in 0\.\.0 .*, got -1 in row 1"),
            ([0.5, 1.0], "whole numbers 0, 1, 2, .*, got float64"),
            ([0, None], "whole numbers 0, 1, 2, .*, got float64"),
            (["cat", "dog"], "whole numbers 0, 1, 2, .*, got (object|str)"),
            ([0, 0], r"at least two classes, got 1 \(0\)"),
        ],
    )
    def test_labels_that_are_no_class_numbers_are_refused(
        self, labels: list[Any], message: str, tmp_path: Path
    ) -> None:
        images = [encoded(picture(index)) for index in range(2)]
        path = parquet_file(tmp_path / "a.parquet", images, labels)

        with pytest.raises(UserError, match=message):
            make_source("parquet", path=str(path)).load()

    def test_labels_beyond_the_class_names_are_refused(self, tmp_path: Path) -> None:
        settings = small_parquet(tmp_path) | {"class_names": ("only",)}

        with pytest.raises(UserError, match=r"must be in 0\.\.0 \(1 classes\), got 1 in row 1"):
            make_source("parquet", **settings).load()

    def test_a_file_that_is_no_parquet_or_empty_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(b"something else")
        with pytest.raises(UserError, match=r"a\.parquet: the file is no readable parquet \("):
            make_source("parquet", path=str(tmp_path / "a.parquet")).load()

        table = pd.DataFrame({"image": pd.Series([], dtype=object), "label": np.array([], int)})
        table.to_parquet(tmp_path / "b.parquet")
        with pytest.raises(UserError, match=r"b\.parquet: there are no images"):
            make_source("parquet", path=str(tmp_path / "b.parquet")).load()

    @pytest.mark.skipif(not CIFAR.exists(), reason="needs ../shared/data/cifar10_test.parquet")
    def test_cifar10_is_read_by_configuration_alone(self) -> None:
        data, _ = make_source("parquet", path=str(CIFAR), image_column="jpeg").load()

        assert data.images.shape == (10_000, 32, 32, 3)
        assert data.class_names[0] == "airplane"
        assert np.bincount(data.labels).tolist() == [1000] * 10


class TestNpz:
    def saved(self, path: Path, **arrays: NDArray[Any]) -> str:
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
        self, shape: tuple[int, ...], layout: str, expected: tuple[int, int, int], tmp_path: Path
    ) -> None:
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        path = self.saved(tmp_path, images=images, labels=np.array([0, 1, 0, 1], np.uint8))

        data, _ = make_source("npz", path=path, layout=layout).load()

        assert data.image_shape == expected
        first_channel = images[0] if images.ndim == 3 else images[0, ..., 0]
        if layout == "NCHW" or shape[1] in (1, 3):
            first_channel = images[0, 0] if layout != "NHWC" else images[0, ..., 0]
        assert np.array_equal(data.images[0, ..., 0], first_channel)

    def test_test_arrays_are_the_test_split(self, tmp_path: Path) -> None:
        images = np.zeros((4, 6, 5), np.uint8)
        labels = np.array([0, 1, 0, 1])
        path = self.saved(
            tmp_path, images=images, labels=labels, test_images=images[:2], test_labels=labels[:2]
        )

        _, test = make_source("npz", path=path).load()

        assert test is not None
        assert len(test) == 2

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": np.zeros((4, 3, 6, 3), np.uint8)}, "can be NHWC or NCHW; set layout"),
            ({"images": np.zeros((4, 6, 5, 2), np.uint8)}, r"1 or 3 channels, got \(4, 6, 5, 2\)"),
            ({"images": np.zeros((4, 30), np.uint8)}, r"\(N, H, W, C\) .* got \(4, 30\)"),
            ({"images": np.zeros((4, 6, 5))}, "must be uint8 in 0..255, got float64; scale"),
            ({"images": np.zeros((3, 6, 5), np.uint8)}, "got 3 images and 4 labels"),
            ({"images": np.zeros((0, 6, 5), np.uint8)}, "there are no images"),
            ({"labels": np.array([0, 1, 2, 9])}, "no gap, got 9 as the largest and no image of 3"),
            ({"labels": np.eye(4, dtype=int)}, r"whole numbers .* of shape \(4, 4\)"),
            ({"labels": np.array(["a", "b", "a", "b"])}, "whole numbers"),
            ({"labels": np.array([0, 1, None, 1], object)}, "no readable .npz of plain arrays"),
            ({"test_images": np.zeros((2, 6, 5), np.uint8)}, "there is no array 'test_labels'"),
        ],
    )
    def test_wrong_arrays_are_refused(
        self, arrays: dict[str, NDArray[Any]], message: str, tmp_path: Path
    ) -> None:
        good = {"images": np.zeros((4, 6, 5), np.uint8), "labels": np.array([0, 1, 0, 1])}
        path = self.saved(tmp_path, **(good | arrays))

        with pytest.raises(UserError, match=message):
            make_source("npz", path=path).load()

    def test_a_missing_array_lists_those_that_are_there(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path, x=np.zeros(3), y=np.zeros(3))

        with pytest.raises(UserError, match="there is no array 'images'; its arrays are x, y"):
            make_source("npz", path=path).load()

    @pytest.mark.parametrize("content", [b"", b"something", b"PK\x03\x04 broken", npy_file()])
    def test_a_file_that_is_no_npz_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(content)

        with pytest.raises(UserError, match=r"a\.npz: the file is no readable \.npz"):
            make_source("npz", path=str(tmp_path / "a.npz")).load()
