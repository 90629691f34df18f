"""Labelled images: the record that every source gives.

Shape letters: N images, H and W spatial size, C channels (1 grey, 3 colour).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]
CHUNK_BYTES = 4 * 2**20  # what is copied at a time of pixels that may not fit in memory


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Images and their classes.

    Splits are rows of one array, which may be a file that is larger than memory: nothing here
    copies all of it.

    Attributes:
        name: What messages and reports call it.
        pixels: ``(M, H, W, C)``, uint8; perhaps more images than are meant here.
        labels: ``(N,)``, int64, in ``0 .. num_classes - 1``.
        class_names: One name a class.
        rows: ``(N,)``, which images of ``pixels`` are meant; None means all of them.

    Raises:
        UserError: If shapes, types, counts or labels break these rules.
    """

    name: str
    pixels: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    rows: Rows | None = None

    def __post_init__(self) -> None:
        check_images(self.name, self.pixels)
        if len(self) == 0:
            raise UserError(f"{self.name}: there are no images")
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise UserError(
                f"{self.name}: labels must be one row of int64, got {self.labels.dtype} of shape "
                f"{self.labels.shape}"
            )
        if len(self) != len(self.labels):
            raise UserError(
                f"{self.name}: every image needs one label, got {len(self)} images and "
                f"{len(self.labels)} labels; remove what has no partner"
            )
        if len(self.class_names) < 2:
            raise UserError(
                f"{self.name}: classification needs at least two classes, got "
                f"{len(self.class_names)} ({', '.join(self.class_names)}); add images of another"
            )
        check_range(self.name, self.labels, len(self.class_names))

    def __len__(self) -> int:
        return len(self.pixels) if self.rows is None else len(self.rows)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the order of a graph's input."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    @property
    def images(self) -> Pixels:
        """``(N, H, W, C)``, uint8; a copy where not all of ``pixels`` are meant."""
        return self.pixels if self.rows is None else self.pixels[self.rows]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pixels, labels and class names."""
        return fingerprint(self)

    def chunks(self) -> Iterator[Pixels]:
        """Yields the images in order, a few megabytes at a time."""
        step = max(1, CHUNK_BYTES // max(1, self.pixels[0].nbytes))
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            yield self.pixels[part if self.rows is None else self.rows[part]]

    def take(self, rows: Rows, name: str) -> "ImageData":
        """Returns the images at ``rows`` as data called ``name``; no pixel is copied."""
        inner = rows if self.rows is None else self.rows[rows]
        return ImageData(name, self.pixels, self.labels[rows], self.class_names, inner)


def concatenated(name: str, first: ImageData, second: ImageData) -> ImageData:
    """Returns the images of both, which have the same classes and shape."""
    labels = np.concatenate((first.labels, second.labels))
    if first.pixels is second.pixels and first.rows is not None and second.rows is not None:
        rows = np.concatenate((first.rows, second.rows))
        return ImageData(name, first.pixels, labels, first.class_names, rows)
    pixels = np.concatenate((first.images, second.images))
    return ImageData(name, pixels, labels, first.class_names)


def check_images(name: str, images: NDArray[Any]) -> None:
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{name}: images must be of shape (N, H, W, C) with 1 or 3 channels, got "
            f"{images.shape}"
        )
    if images.dtype != np.uint8:
        raise UserError(
            f"{name}: images must be uint8 in 0..255, got {images.dtype}; scale them to 0..255 "
            "and save them with .astype(numpy.uint8)"
        )


def check_range(name: str, labels: Labels, num_classes: int) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = outside[0]
        raise UserError(
            f"{name}: labels must be in 0..{num_classes - 1} ({num_classes} classes), got "
            f"{labels[row]} in row {row}; correct the labels or name all classes"
        )


@lru_cache(maxsize=8)  # of records that never change; it is asked for in many places
def fingerprint(data: ImageData) -> str:
    digest = sha256(repr(((len(data), *data.pixels.shape[1:]), data.class_names)).encode())
    for pixels in data.chunks():
        digest.update(np.ascontiguousarray(pixels).data)
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()
