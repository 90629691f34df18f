"""Labelled images: the record that every source gives.

Shape letters: N images, H and W spatial size, C channels (1 grey, 3 colour).
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Images and their classes.

    Attributes:
        name: What messages and reports call it.
        images: ``(N, H, W, C)``, uint8.
        labels: ``(N,)``, int64, in ``0 .. num_classes - 1``.
        class_names: One name a class.
        fingerprint: SHA-256 over pixels, labels and class names.

    Raises:
        UserError: If shapes, types, counts or labels break these rules.
    """

    name: str
    images: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        check_images(self.name, self.images)
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise UserError(
                f"{self.name}: labels must be one row of int64, got {self.labels.dtype} of shape "
                f"{self.labels.shape}"
            )
        if len(self.images) != len(self.labels):
            raise UserError(
                f"{self.name}: every image needs one label, got {len(self.images)} images and "
                f"{len(self.labels)} labels; remove what has no partner"
            )
        if len(self.class_names) < 2:
            raise UserError(
                f"{self.name}: classification needs at least two classes, got "
                f"{len(self.class_names)} ({', '.join(self.class_names)}); add images of another"
            )
        check_range(self.name, self.labels, len(self.class_names))
        object.__setattr__(self, "fingerprint", fingerprint(self))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the order of a graph's input."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def take(self, rows: NDArray[np.int64], name: str) -> "ImageData":
        """Returns the images at ``rows`` as data called ``name``."""
        return ImageData(name, self.images[rows], self.labels[rows], self.class_names)


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
    if len(images) == 0:
        raise UserError(f"{name}: there are no images")


def check_range(name: str, labels: Labels, num_classes: int) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = outside[0]
        raise UserError(
            f"{name}: labels must be in 0..{num_classes - 1} ({num_classes} classes), got "
            f"{labels[row]} in row {row}; correct the labels or name all classes"
        )


def numbered_labels(name: str, labels: NDArray[Any], class_names: tuple[str, ...]) -> Labels:
    """Returns integer labels as int64, checked against ``class_names`` where they are given.

    Raises:
        UserError: If a label is no whole number or out of range, or there are more than one row.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{name}: labels must be one row of whole numbers 0, 1, 2, ..., got "
            f"{labels.dtype} of shape {labels.shape}; number the classes"
        )
    numbered = labels.astype(np.int64)
    if class_names or (len(numbered) and numbered.min() < 0):
        check_range(name, numbered, len(class_names) or int(numbered.max()) + 1)
    return numbered


def numbered_names(name: str, labels: Labels) -> tuple[str, ...]:
    """Returns ``"0", "1", ...`` for labels that come without class names.

    Raises:
        UserError: If a number below the largest label has no image.
    """
    present = np.unique(labels)
    if len(present) and present[-1] + 1 != len(present):
        missing = next(index for index, label in enumerate(present) if index != label)
        raise UserError(
            f"{name}: labels without class names must be 0..n-1 with no gap, got {present[-1]} "
            f"as the largest and no image of {missing}; renumber them or give class_names"
        )
    return tuple(str(label) for label in present)


def fingerprint(data: ImageData) -> str:
    digest = sha256(repr((data.images.shape, data.class_names)).encode())
    digest.update(np.ascontiguousarray(data.images).data)
    digest.update(np.ascontiguousarray(data.labels).data)
    return digest.hexdigest()
