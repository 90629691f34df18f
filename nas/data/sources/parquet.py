"""Parquet: tables with one column of encoded images and one of labels, as the hub has them."""

import glob
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.sources.decode import Pictures, Size, Where
from nas.data.sources.folder import SPLIT_FOLDERS, identity
from nas.data.sources.labels import in_short, numbered
from nas.data.sources.listing import OWN, Listing
from search_spaces.graphs.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Parquet:
    """Encoded images (PNG, JPEG, ...) and labels in parquet files.

    A folder whose files are named ``train-...`` and ``validation-...`` or ``test-...``, as the
    Hugging Face hub names them, is taken for these splits.

    Attributes:
        path: A file, a folder of them, or a pattern such as ``data/train-*.parquet``.
        test_path: Likewise, the images of the test split.
        validation_path: Likewise, those of the validation split.
        image_column: One encoded image a row, as bytes or as the hub's ``{bytes, path}``.
        label_column: Whole numbers 0, 1, 2, ..., truth values, or names of classes.
        class_names: Names of all classes; () takes those in the file's metadata (the hub's, or
            ``classes`` with commas), and where there are none, the labels' own.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width all images are resized to; None where all have one size.
        fit: How another aspect ratio is made to fit: ``squash``, ``crop`` or ``pad``.
        background: What transparency is composited on.
    """

    path: str
    test_path: str | None = None
    validation_path: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    class_names: tuple[str, ...] = ()
    channels: int = 3
    resolution: tuple[int, int] | None = None
    fit: str = "squash"
    background: str = "white"

    def listing(self, fallback: Size | None = None) -> Listing:
        parts, notes = self.parts()
        files = [file for part in OWN if part in parts for file in parts[part]]
        labels, names = {}, self.class_names or named_in(files[0], self.label_column)
        for part in OWN:
            if part in parts:
                values = self.column_of_labels(parts[part])
                where = f"{self.path}, column {self.label_column!r}"
                labels[part], names = numbered(where, values, names)
        count = sum(map(len, labels.values()))
        pictures = Pictures(
            Path(self.path).stem,
            (*map(identity, files), self.image_column),
            count,
            lambda: self.images(files),
            self.channels,
            self.resolution,
            self.fit,
            self.background,
            fallback,
            leading=len(labels["train"]),
        )
        return Listing(pictures.name, self.channels, names, lambda: labels, pictures, notes)

    def parts(self) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
        """Returns the files of each part, and what to say of them."""
        files = found_files(self.path)
        parts, notes = split_files(self.path, files)
        for name, path in (("validation", self.validation_path), ("test", self.test_path)):
            if path is not None:
                parts[name] = found_files(path)
        for file in (file for part in parts.values() for file in part):
            self.check_columns(file)
        return parts, notes

    def check_columns(self, file: Path) -> None:
        schema = read_schema(file)
        for column, wanted in (
            (self.image_column, "image_column"),
            (self.label_column, "label_column"),
        ):
            if column not in schema.names:
                columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
                raise UserError(
                    f"{file}: there is no column {column!r}; its columns are {columns}; set "
                    f"{wanted}"
                )
        kind = schema.field(self.image_column).type
        if not is_bytes(kind):
            raise UserError(
                f"{file}: column {self.image_column!r} must hold encoded images as bytes, or as "
                f"struct<bytes, path>, got {kind}; name the column with image_column"
            )

    def column_of_labels(self, files: list[Path]) -> np.ndarray[Any, Any]:
        """Returns the labels of all rows.

        Raises:
            UserError: If one is missing; the message names its row.
        """
        columns = []
        for file in files:
            column = read_column(file, self.label_column)
            if column.null_count:
                row = column.is_null().to_pylist().index(True)
                raise UserError(
                    f"{file}, row {row}: every image needs a label, got null in column "
                    f"{self.label_column!r}; label it or remove the row"
                )
            columns.append(column.to_numpy(zero_copy_only=False))
        return np.concatenate(columns)

    def images(self, files: list[Path]) -> Iterator[Where]:
        """Yields the encoded images of all files, a few rows in memory at a time."""
        for file in files:
            row = 0
            with opened(file) as table:
                for batch in table.iter_batches(ROWS_AT_ONCE, columns=[self.image_column]):
                    for value in batch.column(0).to_pylist():
                        yield f"{file}, row {row}", self.encoded(file, row, value)
                        row += 1

    def encoded(self, file: Path, row: int, value: Any) -> bytes:  # noqa: ANN401  (of a table)
        if isinstance(value, Mapping):
            if value.get("bytes") is None and value.get("path"):
                raise UserError(
                    f"{file}, row {row}: an image must be in the file, got its path alone "
                    f"({value['path']}); save the data set with its images embedded"
                )
            value = value.get("bytes")
        if value is None:
            raise UserError(
                f"{file}, row {row}: every row needs an image, got null in column "
                f"{self.image_column!r}; remove the row"
            )
        return bytes(value)


def found_files(path: str) -> list[Path]:
    """Returns the parquet files that a path means: itself, those in a folder, or of a pattern."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        files = sorted(file for file in place.rglob("*.parquet") if file.is_file())
        what = "no *.parquet file in it"
    else:
        files = sorted(Path(name) for name in glob.glob(str(place), recursive=True))
        what = "there is no such file"
    if not files:
        raise UserError(
            f"{path}: {what}; give the path of a parquet file, of a folder of them, or a pattern "
            "such as 'data/train-*.parquet'"
        )
    return files


def split_files(path: str, files: list[Path]) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Returns the files of each split where their names say so, else all as one."""
    if len(files) == 1:
        return {"train": files}, ()
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(split_of(file.name), []).append(file)
    if "train" not in parts or set(parts) <= {"train"}:
        return {"train": files}, ()
    taken = [f"{len(parts[part])} as {part}" for part in OWN if part in parts]
    notes = [f"{path}: taken, of {len(files)} files, {', '.join(taken)}"]
    if "" in parts:
        others = in_short([file.name for file in parts.pop("")])
        notes.append(f"{path}: left out: files that are no split ({others})")
    return parts, tuple(notes)


def split_of(name: str) -> str:
    """
    >>> split_of("train-00000-of-00002.parquet"), split_of("valid.parquet"), split_of("a.parquet")
    ('train', 'validation', '')
    """
    first = name.replace(".", "-").replace("_", "-").split("-")[0].lower()
    return next((part for part, names in SPLIT_FOLDERS.items() if first in names), "")


@contextmanager
def opened(file: Path) -> Iterator["ParquetFile"]:
    """Opens a parquet file; what cannot be read of it is one line."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: the file is no readable parquet ({one_line(error)})") from None


def read_schema(file: Path) -> "pa.Schema":
    with opened(file) as table:
        return table.schema_arrow


def read_column(file: Path, column: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    with opened(file) as table:
        found = table.read(columns=[column])[column]
    return found.cast(found.type.value_type) if pa.types.is_dictionary(found.type) else found


def is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and is_bytes(kind.field("bytes").type)
    if pa.types.is_null(kind):  # of a table without rows, or whose rows are named one by one
        return True
    sorts = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_sort(kind) for is_sort in sorts) or pa.types.is_fixed_size_binary(kind)


def named_in(file: Path, column: str) -> tuple[str, ...]:
    """Returns the class names in a file's metadata; () where there are none."""
    metadata = read_schema(file).metadata or {}
    if classes := metadata.get(b"classes", b"").decode("utf-8", "replace"):
        return tuple(filter(None, classes.split(",")))
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
