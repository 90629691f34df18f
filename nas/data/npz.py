"""NPZ: arrays saved with ``numpy.savez(path, images=..., labels=...)``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData, Pixels, check_images, numbered_labels, numbered_names
from search_spaces.graphs.errors import UserError

Layout = Literal["auto", "NHWC", "NCHW"]


@dataclass(frozen=True, slots=True)
class Npz:
    """Arrays ``images`` and ``labels``, and for an own test split ``test_images, test_labels``.

    Attributes:
        class_names: Names of all classes; () numbers them.
        layout: ``auto`` takes ``(N, H, W)`` as grey, and in four dimensions the axis of size 1 or
            3 (the last or the second) as the channels; where both are, it asks for the layout.
    """

    path: str
    class_names: tuple[str, ...] = ()
    layout: Layout = "auto"

    def load(self) -> tuple[ImageData, ImageData | None]:
        path = Path(self.path).expanduser()
        arrays = read_arrays(path)
        data = self.image_data(path.stem, path, arrays, "", self.class_names)
        if "test_images" not in arrays:
            return data, None
        name = f"{path.stem} test"
        return data, self.image_data(name, path, arrays, "test_", data.class_names)

    def image_data(
        self,
        name: str,
        path: Path,
        arrays: dict[str, NDArray[Any]],
        prefix: str,
        class_names: tuple[str, ...],
    ) -> ImageData:
        for key in (f"{prefix}images", f"{prefix}labels"):
            if key not in arrays:
                raise UserError(
                    f"{path}: there is no array {key!r}; its arrays are {', '.join(arrays)}"
                )
        images = channels_last(f"{path}, {prefix}images", arrays[f"{prefix}images"], self.layout)
        where = f"{path}, {prefix}labels"
        labels = numbered_labels(where, arrays[f"{prefix}labels"], class_names)
        return ImageData(name, images, labels, class_names or numbered_names(where, labels))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Returns the arrays of an ``.npz`` file by name.

    Raises:
        UserError: If there is no such file, or it is no ``.npz`` of plain arrays.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the path of an .npz file")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise UserError(
            f"{path}: the file is no readable .npz of plain arrays ({error}); save it with "
            "numpy.savez(path, images=..., labels=...)"
        ) from None


def channels_last(name: str, images: NDArray[Any], layout: Layout) -> Pixels:
    """Returns ``(N, H, W, C)`` of images in ``layout``.

    Raises:
        UserError: If the channels cannot be told, or these are no images.
    """
    if layout not in ("auto", "NHWC", "NCHW"):
        raise UserError(f"{name}: layout must be auto, NHWC or NCHW, got {layout!r}")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4:
        last, second = (images.shape[axis] in (1, 3) for axis in (3, 1))
        if layout == "auto" and last and second:
            raise UserError(
                f"{name}: shape {images.shape} can be NHWC or NCHW; set layout to one of them"
            )
        if layout == "NCHW" or (layout == "auto" and second):
            images = images.transpose(0, 2, 3, 1)
    check_images(name, images)
    return np.ascontiguousarray(images)
