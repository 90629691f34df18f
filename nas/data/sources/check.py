"""Check of data: what a person would want to know of images before a search sees them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np

from nas.data.images import ImageData
from nas.data.picture import PictureError
from nas.data.sources.decode import Look, Pictures, Size, in_threads, looked_at, quiet, shown
from nas.data.sources.listing import Listing, Loaded
from nas.data.splits import SPLITS, Splits

NEAR_CONSTANT = 2.0  # largest standard deviation of a channel, of 255
USUAL_SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224)


@dataclass(frozen=True, slots=True)
class Heads:
    """What the heads of encoded images say.

    Attributes:
        sizes: How many there are of each (height, width).
        modes: Of each of Pillow's modes.
        turned: How many are turned or mirrored by their EXIF data.
        broken: How many heads cannot be read.
    """

    sizes: Mapping[Size, int]
    modes: Mapping[str, int]
    turned: int
    broken: int

    @property
    def smallest(self) -> Size:
        return min(self.sizes, key=lambda size: (size[0] * size[1], size))

    @property
    def largest(self) -> Size:
        return max(self.sizes, key=lambda size: (size[0] * size[1], size))

    @property
    def is_grey(self) -> bool:
        return all(mode in ("1", "L") or mode.startswith("I") for mode in self.modes)

    @property
    def side(self) -> int:
        """A resolution to start with: the largest usual one that few images are enlarged for."""
        short = sorted(min(size) for size, count in self.sizes.items() for _ in range(count))
        tenth = short[len(short) // 10]
        return max((side for side in USUAL_SIDES if side <= tenth), default=USUAL_SIDES[0])


def read_heads_of(listing: Listing) -> Heads | None:
    """Returns what the heads of the images say; None for arrays, which have none."""
    if not isinstance(listing.undecoded, Pictures):
        return None
    images, sizes, modes = listing.undecoded, Counter[Size](), Counter[str]()
    turned, broken = 0, 0
    with quiet():
        bar = shown(images.read(), images.count, f"looking at {images.name}")
        for _, seen in in_threads(looked_at, bar):
            if isinstance(seen, PictureError):
                broken += 1
            elif isinstance(seen, Look):
                sizes[seen.size] += 1
                modes[seen.mode] += 1
                turned += seen.is_turned
    return Heads(sizes, modes, turned, broken)


def resized_to(listing: Listing, side: int) -> Listing:
    """Returns the listing with a resolution for images of several sizes."""
    if not isinstance(listing.undecoded, Pictures):
        return listing
    return replace(listing, undecoded=replace(listing.undecoded, fallback=(side, side)))


@dataclass(frozen=True, slots=True)
class Findings:
    """What the pixels say.

    Attributes:
        counts: Images of each class in each split.
        near_constant: Names of images that are nearly of one colour.
        twice: How many images are the same as an earlier one.
        leaked: Pairs of names of the same image in two splits.
        contradictory: Pairs of names of the same image in two classes.
        num_bytes: Of the decoded pixels.
    """

    counts: Mapping[str, tuple[int, ...]]
    near_constant: tuple[str, ...]
    twice: int
    leaked: tuple[tuple[str, str], ...]
    contradictory: tuple[tuple[str, str], ...]
    num_bytes: int

    @property
    def class_counts(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*self.counts.values(), strict=True)))

    @property
    def largest_share(self) -> float:
        return max(self.class_counts) / sum(self.class_counts)


def look_into(listing: Listing, loaded: Loaded, splits: Splits) -> Findings:
    """Returns what the pixels of all splits say."""
    parts = {name: getattr(splits, name) for name in SPLITS}
    flat: list[int] = []
    first: dict[bytes, tuple[int, str, int]] = {}
    pairs: dict[str, list[tuple[int, int]]] = {"twice": [], "leaked": [], "other class": []}
    for name, part in parts.items():
        for row, label, digest, deviation in rows_of(part):
            if deviation < NEAR_CONSTANT:
                flat.append(row)
            if digest not in first:
                first[digest] = (row, name, label)
                continue
            earlier, split, its_label = first[digest]
            pairs["twice"].append((earlier, row))
            if split != name:
                pairs["leaked"].append((earlier, row))
            if its_label != label:
                pairs["other class"].append((earlier, row))
    wanted = {*flat, *(row for found in pairs.values() for pair in found for row in pair)}
    names = names_of(listing, wanted)

    def named(kind: str) -> tuple[tuple[str, str], ...]:
        return tuple((names[one], names[other]) for one, other in pairs[kind])

    return Findings(
        {
            name: tuple(np.bincount(part.labels, minlength=part.num_classes).tolist())
            for name, part in parts.items()
        },
        tuple(names[row] for row in flat),
        len(pairs["twice"]),
        named("leaked"),
        named("other class"),
        loaded.data.pixels.nbytes,
    )


def rows_of(part: ImageData) -> Iterator[tuple[int, int, bytes, float]]:
    """Yields each image's row in the source, its class, digest and deviation."""
    rows = np.arange(len(part)) if part.rows is None else part.rows
    images = (image for chunk in part.chunks() for image in chunk)
    for row, label, image in zip(rows.tolist(), part.labels.tolist(), images, strict=True):
        digest = blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        yield row, label, digest, float(image.std(axis=(0, 1)).max())


def names_of(listing: Listing, rows: set[int]) -> dict[int, str]:
    """Returns what the images at some rows are called."""
    if not isinstance(listing.undecoded, Pictures):
        return {row: f"image {row}" for row in rows}
    last = max(rows, default=-1) + 1
    images = enumerate(islice(listing.undecoded.read(), last))
    return {row: where for row, (where, _) in images if row in rows}


def guess_kind(path: str) -> str:
    """Returns the kind of source that a path looks like."""
    place = Path(path).expanduser()
    if place.suffix == ".npz":
        return "npz"
    if place.suffix == ".parquet" or (place.is_dir() and any(place.rglob("*.parquet"))):
        return "parquet"
    return "folder"
