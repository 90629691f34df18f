"""Tables of images as the hub writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from nas.data.sources.registry import load, make_source
from search_spaces.graphs.errors import UserError
from tests.nas.parts.pictures import encoded, parquet_file, picture

CIFAR = Path(__file__).parents[4] / "../shared/data/cifar10_test.parquet"


def small_parquet(root: Path, **columns: list[Any]) -> dict[str, Any]:
    images = [encoded(picture(index)) for index in range(4)]
    pd.DataFrame({"image": images, "label": [0, 1, 1, 0]} | columns).to_parquet(root / "a.parquet")
    return {"path": str(root / "a.parquet")}


def hub_file(path: Path, labels: Any, names: tuple[str, ...] = ()) -> Path:  # noqa: ANN401
    """A table as the Hugging Face hub writes it: struct images, names in the schema's metadata."""
    images = [{"bytes": encoded(picture(index)), "path": None} for index in range(len(labels))]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, struct), "label": labels})
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    about = json.dumps({"info": {"features": features}}) if names else "{}"
    parquet.write_table(table.replace_schema_metadata({"huggingface": about}), path)
    return path


def test_images_as_the_hub_writes_them_are_read_with_the_names_in_the_metadata(
    tmp_path: Path,
) -> None:
    hub_file(tmp_path / "a.parquet", [1, 0, 1], ("cat", "dog"))

    data = load(make_source("parquet", path=str(tmp_path / "a.parquet"))).data

    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, 1]
    assert np.array_equal(data.images[2], np.asarray(picture(2)))


@pytest.mark.parametrize("path", ["", "*.parquet", "**/s*.parquet"])
def test_shards_are_a_folder_or_a_pattern(path: str, tmp_path: Path) -> None:
    hub_file(tmp_path / "s0.parquet", [0, 1])
    hub_file(tmp_path / "s1.parquet", [1, 1, 0])

    data = load(make_source("parquet", path=str(tmp_path / path))).data

    assert data.labels.tolist() == [0, 1, 1, 1, 0]


def test_files_named_after_splits_are_these_splits(tmp_path: Path) -> None:
    hub_file(tmp_path / "train-00000-of-00002.parquet", [0, 1])
    hub_file(tmp_path / "train-00001-of-00002.parquet", [1, 2])
    hub_file(tmp_path / "validation-00000-of-00001.parquet", [2, 1])
    hub_file(tmp_path / "test-00000-of-00001.parquet", [1])

    loaded = load(make_source("parquet", path=str(tmp_path)))

    assert loaded.data.labels.tolist() == [0, 1, 1, 2]
    assert loaded.validation is not None
    assert loaded.validation.labels.tolist() == [2, 1]
    assert loaded.test is not None
    assert loaded.test.labels.tolist() == [1]
    assert any("2 as train, 1 as validation, 1 as test" in note for note in loaded.notes)
    assert any("no image of 0, 2" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (pa.array(["dog", "cat", "dog"]).dictionary_encode(), ("cat", "dog"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        (pa.array([1, 0, 1], pa.uint8()), ("0", "1"), [1, 0, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        (["cafe\u0301", "a", "caf\u00e9"], ("a", "caf\u00e9"), [1, 0, 1]),
    ],
)
def test_labels_may_be_names_dictionaries_truth_values_or_whole_numbers(
    labels: Any,  # noqa: ANN401
    names: tuple[str, ...],
    numbers: list[int],
    tmp_path: Path,
) -> None:
    data = load(make_source("parquet", path=str(hub_file(tmp_path / "a.parquet", labels)))).data

    assert data.class_names == names
    assert data.labels.tolist() == numbers


def test_a_missing_label_or_image_is_named_with_its_row(tmp_path: Path) -> None:
    hub_file(tmp_path / "a.parquet", [0, 1, None])
    with pytest.raises(UserError, match=r"a\.parquet, row 2: every image needs a label, got null"):
        load(make_source("parquet", path=str(tmp_path / "a.parquet")))

    parquet_file(tmp_path / "b.parquet", [encoded(picture(0)), None], [0, 1])
    with pytest.raises(UserError, match=r"b\.parquet, row 1: every row needs an image, got null"):
        load(make_source("parquet", path=str(tmp_path / "b.parquet")))


def test_columns_and_class_names_may_be_given(tmp_path: Path) -> None:
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
    data = load(source).data

    assert data.labels.tolist() == [2, 0, 1]
    assert data.class_names == ("a", "b", "c")
    assert np.array_equal(data.images[1], np.asarray(picture(1)))


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    settings = small_parquet(tmp_path)

    with pytest.raises(
        UserError, match=r"no column 'jpeg'; its columns are image \(binary\), label"
    ):
        load(make_source("parquet", **settings, image_column="jpeg"))


def test_a_corrupt_image_is_named_by_its_row(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "a.parquet", [encoded(picture(0)), b"no image"], [0, 1])

    with pytest.raises(UserError, match=r"1 of 2 images cannot be read: .*a\.parquet, row 1 \(no"):
        load(make_source("parquet", path=str(path)))


def test_a_column_without_bytes_is_refused(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "a.parquet", ["a.png", "b.png"], [0, 1])

    with pytest.raises(UserError, match=r"column 'image' must hold .* bytes, .*, got .*string"):
        load(make_source("parquet", path=str(path)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 5], r"no gap, got 5 as the largest and no image of 1"),
        ([0, -1], r"labels must be in 0\.\.0 .*, got -1 in row 1"),
        ([0.5, 1.0], "whole numbers, truth values or names, got float64"),
        ([0, None], "row 1: every image needs a label, got null in column 'label'"),
        ([b"\xff\xfe", b"a"], "needs the name of a class, got bytes that are not UTF-8 in row 0"),
        ([0, 0], r"at least two classes, got 1 \(0\)"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(
    labels: list[Any], message: str, tmp_path: Path
) -> None:
    images = [encoded(picture(index)) for index in range(2)]
    path = parquet_file(tmp_path / "a.parquet", images, labels)

    with pytest.raises(UserError, match=message):
        load(make_source("parquet", path=str(path)))


def test_labels_beyond_the_class_names_are_refused(tmp_path: Path) -> None:
    settings = small_parquet(tmp_path) | {"class_names": ("only",)}

    with pytest.raises(UserError, match=r"must be in 0\.\.0 \(1 classes\), got 1 in row 1"):
        load(make_source("parquet", **settings))


def test_a_file_that_is_no_parquet_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"a\.parquet: the file is no readable parquet \("):
        load(make_source("parquet", path=str(tmp_path / "a.parquet")))

    table = pd.DataFrame({"image": pd.Series([], dtype=object), "label": np.array([], int)})
    table.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b: there are no images"):
        load(make_source("parquet", path=str(tmp_path / "b.parquet")))


@pytest.mark.skipif(not CIFAR.exists(), reason="needs ../shared/data/cifar10_test.parquet")
def test_cifar10_is_read_by_configuration_alone() -> None:
    data = load(make_source("parquet", path=str(CIFAR), image_column="jpeg")).data

    assert data.images.shape == (10_000, 32, 32, 3)
    assert data.class_names[0] == "airplane"
    assert np.bincount(data.labels).tolist() == [1000] * 10
