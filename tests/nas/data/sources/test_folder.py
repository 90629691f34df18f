"""Image folders as people have them: what loads, what is said, what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.sources.listing import Loaded
from nas.data.sources.registry import load, make_source
from search_spaces.graphs.errors import UserError
from tests.nas.parts.pictures import encoded, image_folder, picture


def read(root: Path, **settings: object) -> Loaded:
    return load(make_source("folder", path=str(root), **settings))


def test_classes_are_the_sorted_folders_and_pixels_those_of_the_files(tmp_path: Path) -> None:
    image_folder(tmp_path, ("dog", "cat"), each=2)

    loaded = read(tmp_path)

    assert loaded.data.class_names == ("cat", "dog")
    assert loaded.data.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(loaded.data.images[0], np.asarray(picture(10)))
    assert np.array_equal(loaded.data.images[3], np.asarray(picture(1)))
    assert loaded.notes == ()


def test_sub_folders_other_suffixes_and_none_are_images_by_their_content(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "cat" / "raw" / "2024").mkdir(parents=True)
    for name, suffix in (("raw/a.png", "png"), ("raw/2024/b.jfif", "jpeg"), ("raw/c", "webp")):
        (tmp_path / "cat" / name).write_bytes(encoded(picture(1), suffix))

    loaded = read(tmp_path)

    assert np.bincount(loaded.data.labels).tolist() == [6, 3]
    assert loaded.notes == ()


def test_one_line_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    image_folder(tmp_path)
    for name in (".hidden", "cat/.thumbs", "dog/empty", "cow"):
        (tmp_path / name).mkdir()
    for name in ("cat/notes.txt", "cat/labels.csv", "dog/.DS_Store"):
        (tmp_path / name).write_text("no image")
    picture(1).save(tmp_path / "stray.png")

    notes = read(tmp_path).notes

    assert notes == (
        f"{tmp_path}: left out: files that are no images (2), folders without images (1), hidden "
        "files (1), hidden folders (1), pictures in no class folder (1)",
    )


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", None), ("Training", "valid", "testing"), ("train", None, "test")],
)
def test_a_root_of_splits_is_taken_for_these_splits(
    train: str, validation: str | None, test: str | None, tmp_path: Path
) -> None:
    image_folder(tmp_path / train, each=4)
    for name in filter(None, (validation, test)):
        image_folder(tmp_path / name, each=2)
        picture(1).save(tmp_path / name / "stray.png")

    loaded = read(tmp_path)

    assert len(loaded.data) == 8
    for name_or_none, part in ((validation, loaded.validation), (test, loaded.test)):
        assert (part is None) == (name_or_none is None)
        assert part is None or len(part) == 4
    assert f"{train}/ as train" in loaded.notes[0]
    assert "pictures in no class folder (1)" in loaded.notes[1]


def test_a_flat_test_folder_beside_train_is_left_out_and_said(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    (tmp_path / "test").mkdir()
    picture(1).save(tmp_path / "test" / "1.png")

    loaded = read(tmp_path)

    assert loaded.test is None
    assert len(loaded.data) == 6
    assert "left out: test/, which has no folders of classes" in loaded.notes[1]


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    image_folder(tmp_path, ("test", "train"))

    assert read(tmp_path).data.class_names == ("test", "train")


def test_validation_and_test_folders_may_be_given_and_lack_a_class(tmp_path: Path) -> None:
    image_folder(tmp_path / "a", ("cat", "cow", "dog"))
    image_folder(tmp_path / "b", ("cat", "dog"), each=1)
    image_folder(tmp_path / "c", ("dog",), each=2)
    (tmp_path / "c" / "cow").mkdir()

    loaded = read(
        tmp_path / "a", validation_path=str(tmp_path / "b"), test_path=str(tmp_path / "c")
    )

    assert loaded.validation is not None
    assert loaded.validation.labels.tolist() == [0, 2]
    assert loaded.test is not None
    assert loaded.test.labels.tolist() == [2, 2]
    assert "a test: no image of cat, cow; recall there is of the others" in loaded.notes


def test_a_test_folder_without_an_image_is_refused_and_not_left_out(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    (tmp_path / "test" / "cat").mkdir(parents=True)

    with pytest.raises(UserError, match=r"test: the class folders of test images are all empty"):
        read(tmp_path / "train", test_path=str(tmp_path / "test"))


def test_a_test_folder_with_a_class_of_its_own_is_refused(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    image_folder(tmp_path / "test", ("cat", "cow"))

    with pytest.raises(UserError, match=r"test: every class must be in .*train too, got cow here"):
        read(tmp_path / "train", test_path=str(tmp_path / "test"))


def test_a_test_folder_is_resized_like_the_first(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    for name in ("cat", "dog"):
        (tmp_path / "test" / name).mkdir(parents=True)
        picture(3, (12, 10)).save(tmp_path / "test" / name / "a.jpg")

    loaded = read(tmp_path / "train", test_path=str(tmp_path / "test"))

    assert loaded.test is not None
    assert (loaded.data.image_shape, loaded.test.image_shape) == ((3, 6, 5), (3, 6, 5))


def test_a_class_is_one_in_both_unicode_forms(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    image_folder(tmp_path / "train", (composed, "tea"))
    image_folder(tmp_path / "test", (decomposed, "tea"))
    image_folder(tmp_path / "both", (composed, decomposed, "tea"))

    loaded = read(tmp_path / "train", test_path=str(tmp_path / "test"))
    both = read(tmp_path / "both")

    assert loaded.data.class_names == (composed, "tea")
    assert loaded.test is not None
    assert np.bincount(both.data.labels).tolist() == [6, 3]
    assert both.notes == (f"{tmp_path / 'both'}: folders of {composed!r} are one class",)


def test_a_name_that_is_not_utf8_is_refused_at_the_start(tmp_path: Path) -> None:
    image_folder(tmp_path, ("a", "b"))
    os.rename(tmp_path / "b", os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))

    with pytest.raises(UserError, match=r"caf\\xe9: the name of a class must be UTF-8"):
        make_source("folder", path=str(tmp_path)).listing()


def test_sizes_that_differ_need_a_resolution_or_take_that_of_the_space(tmp_path: Path) -> None:
    image_folder(tmp_path)
    picture(5, (9, 9)).save(tmp_path / "dog" / "large.png")

    with pytest.raises(UserError, match=r"one size, got 2 sizes from 6x5 to 9x9 \(.*large\.png\)"):
        read(tmp_path)

    assert read(tmp_path, resolution=(4, 7)).data.image_shape == (3, 4, 7)
    source = make_source("folder", path=str(tmp_path))
    for loaded in (load(source, (8, 8)), load(source, (8, 8))):  # decoded, and kept
        assert loaded.data.image_shape == (3, 8, 8)
        assert "2 sizes from 6x5 to 9x9, all are resized to 8x8 (fit: squash)" in loaded.notes[0]


def test_images_of_one_size_keep_it_whatever_the_space_says(tmp_path: Path) -> None:
    image_folder(tmp_path)

    assert load(make_source("folder", path=str(tmp_path)), (8, 8)).data.image_shape == (3, 6, 5)


@pytest.mark.parametrize("resolution", [(6, 6), None])
def test_all_broken_images_are_named_at_once(
    resolution: tuple[int, int] | None, tmp_path: Path
) -> None:
    image_folder(tmp_path)
    cut = encoded(picture(0, (40, 40)))[:-200]
    for name, content in (("0.png", b"no image at all"), ("b.jpg", b""), ("c.png", cut)):
        (tmp_path / "dog" / name).write_bytes(content)

    with pytest.raises(UserError, match=r"3 of 8 images cannot be read: .*0\.png.*b\.jpg.*c\.png"):
        read(tmp_path, resolution=resolution)


def test_of_many_broken_images_ten_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    image_folder(tmp_path)
    for index in range(15):
        (tmp_path / "dog" / f"broken{index:02}.png").write_bytes(b"")

    with pytest.raises(UserError) as caught:
        read(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path.name}: 15 of 21 images cannot be read: ")
    assert str(caught.value).count(".png") == 10
    assert str(caught.value).endswith(
        "broken09.png and 5 more (no image format that Pillow knows); replace or remove them"
    )


def test_pages_that_are_not_read_are_counted(tmp_path: Path) -> None:
    image_folder(tmp_path)
    pages = [picture(index) for index in range(3)]
    pages[0].save(tmp_path / "dog" / "a.tiff", save_all=True, append_images=pages[1:])

    notes = read(tmp_path).notes

    assert notes == (f"{tmp_path.name}: 1 files have several pages or frames; the first is taken",)


def test_no_folder_one_class_and_only_empty_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs one sub-folder a class, got nothing and no folder"):
        read(tmp_path)
    picture(1).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="got 1 pictures and no folder; put each class's images"):
        read(tmp_path)

    image_folder(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="two class folders with images, got cat; add the images"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 2}, r"channels must be 1 .* or 3 .*, got 2"),
        ({"resolution": (0, 8)}, "resolution must be at least 1x1, got"),
        ({"fit": "stretch"}, "fit must be squash, crop, pad, got 'stretch'"),
        ({"background": "whit"}, "background must be a colour such as white .*, got 'whit'"),
        ({"resolution": (900_000, 900_000)}, r"decode to .* GiB, which can be kept neither on"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    image_folder(tmp_path)

    with pytest.raises(UserError, match=message):
        read(tmp_path, **settings)


def test_a_link_back_to_the_root_is_not_followed(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)

    loaded = read(tmp_path)

    assert len(loaded.data) == 6
    assert "linked sub-folders (1)" in loaded.notes[0]


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    image_folder(tmp_path)
    Image.fromarray(np.full((6, 5), 200 * 257, np.uint16)).save(tmp_path / "dog" / "9.png")

    assert np.unique(read(tmp_path).data.images[-1]).tolist() == [200]
