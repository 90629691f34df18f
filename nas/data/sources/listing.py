"""Listing: what a source has, found out before a pixel is read, and then its images.

Shape letters: N images, H and W spatial size, C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nas.data.images import ImageData, Labels
from nas.data.sources.cache import Undecoded, kept_pixels
from nas.data.sources.labels import in_short
from search_spaces.graphs.errors import UserError

OWN = ("train", "validation", "test")  # the parts that a source may have, in this order


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source has.

    Attributes:
        labels: Returns those of each part that is there, by its name: "train", and "validation"
            and "test" where the source has its own.
        undecoded: The images of all parts, one part after the other.
        notes: What was left out or taken otherwise than it stands, and why, one line each.
    """

    name: str
    channels: int
    class_names: tuple[str, ...]
    labels: Callable[[], Mapping[str, Labels]]
    undecoded: Undecoded
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise UserError(
                f"{self.name}: classification needs at least two classes, got "
                f"{len(self.class_names)} ({', '.join(self.class_names)}); add images of another"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The images of a source.

    Attributes:
        data: What is split, and trained on.
        validation: The source's own validation images, or None.
        test: Its own test images, or None.
        notes: What was left out or taken otherwise than it stands, and why, one line each.
    """

    data: ImageData
    validation: ImageData | None
    test: ImageData | None
    notes: tuple[str, ...]


def loaded(listing: Listing) -> Loaded:
    """Returns the images of a listing, decoded once for all that ask.

    Raises:
        UserError: If images cannot be read.
    """
    pixels, decoding_notes = kept_pixels(listing.name, listing.undecoded)
    parts, start, labels_of = {}, 0, listing.labels()
    for part in OWN:
        if part in labels_of:
            labels = labels_of[part]
            rows = np.arange(start, start + len(labels))
            name = listing.name if part == "train" else f"{listing.name} {part}"
            parts[part] = ImageData(name, pixels, labels, listing.class_names, rows)
            start += len(labels)
    notes = (*listing.notes, *decoding_notes, *classes_missing(parts))
    return Loaded(parts["train"], parts.get("validation"), parts.get("test"), notes)


def classes_missing(parts: Mapping[str, ImageData]) -> list[str]:
    """Returns a note for each part of its own that has no image of some class."""
    notes = []
    for part, data in parts.items():
        counts = np.bincount(data.labels, minlength=data.num_classes)
        missing = [data.class_names[label] for label in np.flatnonzero(counts == 0)]
        if missing and part != "train":
            notes.append(
                f"{data.name}: no image of {in_short(missing)}; recall there is of the others"
            )
    return notes
