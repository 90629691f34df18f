"""Parquet: a table with one column of encoded images and one of labels."""

from dataclasses import dataclass
from pathlib import Path

from nas.data.decode import Encoded, decode_images
from nas.data.images import ImageData, numbered_labels, numbered_names
from search_spaces.graphs.errors import UserError


@dataclass(frozen=True, slots=True)
class Parquet:
    """Encoded images (PNG, JPEG, ...) and numbered labels in a parquet file.

    Attributes:
        test_path: A second such file whose images are the test split.
        image_column: Column of bytes, one encoded image a row.
        label_column: Column of whole numbers 0, 1, 2, ....
        class_names: Names of all classes; () takes the comma-separated ``classes`` of the
            file's metadata, and where there are none, the numbers.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width all images are resized to; None where all have one size.
    """

    path: str
    test_path: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    class_names: tuple[str, ...] = ()
    channels: int = 3
    resolution: tuple[int, int] | None = None

    def load(self) -> tuple[ImageData, ImageData | None]:
        data = self.read(Path(self.path).expanduser(), self.class_names, self.resolution)
        if self.test_path is None:
            return data, None
        path = Path(self.test_path).expanduser()
        # The test images must be of the size and the classes that training has seen.
        return data, self.read(path, data.class_names, data.image_shape[1:])

    def read(
        self, path: Path, class_names: tuple[str, ...], resolution: tuple[int, int] | None
    ) -> ImageData:
        import pyarrow as pa
        from pyarrow import parquet

        if not path.is_file():
            raise UserError(f"{path}: there is no such file; give the path of a parquet file")
        try:
            schema = parquet.read_schema(path)
            for column in (self.image_column, self.label_column):
                if column not in schema.names:
                    raise UserError(
                        f"{path}: there is no column {column!r}; its columns are "
                        f"{', '.join(schema.names)}; set image_column and label_column"
                    )
            table = parquet.read_table(path, columns=[self.image_column, self.label_column])
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{path}: the file is no readable parquet ({first_line(error)})"
            ) from None
        classes = (schema.metadata or {}).get(b"classes", b"").decode()
        class_names = class_names or tuple(filter(None, classes.split(",")))
        labels = numbered_labels(
            f"{path}, column {self.label_column!r}",
            table[self.label_column].to_numpy(),
            class_names,
        )
        images: list[tuple[str, Encoded]] = []
        for row, image in enumerate(table[self.image_column].to_pylist()):
            if not isinstance(image, bytes):
                raise UserError(
                    f"{path}, row {row}: column {self.image_column!r} must hold encoded images "
                    f"as bytes, got {type(image).__name__}; name the column with image_column"
                )
            images.append((f"{path}, row {row}", image))
        if not images:
            raise UserError(f"{path}: there are no images")
        class_names = class_names or numbered_names(str(path), labels)
        pixels = decode_images(str(path), images, self.channels, resolution)
        return ImageData(path.stem, pixels, labels, class_names)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
