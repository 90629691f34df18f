"""NPZ: arrays of images and labels in one file, as numpy, MedMNIST and Keras write them.

Shape letters: N images, H and W spatial size, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.data.images import Labels
from nas.data.sources.arrays import ArrayHead, ArrayPixels, Layout, read_array, read_heads
from nas.data.sources.decode import Size
from nas.data.sources.folder import printable
from nas.data.sources.labels import numbered
from nas.data.sources.listing import Listing
from search_spaces.graphs.errors import UserError

# What images and labels of each part are called: by us, by MedMNIST, by Keras.
KNOWN = {
    "train": (("images", "labels"), ("train_images", "train_labels"), ("x_train", "y_train")),
    "validation": (
        *(("validation_images", "validation_labels"), ("val_images", "val_labels")),
        ("x_val", "y_val"),
    ),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}


@dataclass(frozen=True, slots=True)
class Npz:
    """Arrays ``images`` and ``labels``, and perhaps ``validation_...`` and ``test_...`` ones.

    The names that MedMNIST (``train_images``, ...) and Keras (``x_train``, ...) use are known.
    Images are 8-bit; 16-bit ones become ``value // 257``; floats in 0..1 are multiplied by 255
    and rounded, floats in 0..255 rounded. With four channels the last is transparency.

    Attributes:
        images, labels, ...: Names of the arrays; None takes the known ones that are there.
        class_names: Names of all classes; () numbers them.
        layout: ``auto`` takes ``(N, H, W)`` as grey, and in four dimensions the axis of size 1, 3
            or 4 (the last or the second) as the channels; where both are, it asks for the layout.
        background: What transparency is composited on.
    """

    path: str
    images: str | None = None
    labels: str | None = None
    validation_images: str | None = None
    validation_labels: str | None = None
    test_images: str | None = None
    test_labels: str | None = None
    class_names: tuple[str, ...] = ()
    layout: Layout = "auto"
    background: str = "white"

    def listing(self, fallback: Size | None = None) -> Listing:
        path = Path(self.path).expanduser()
        heads = read_heads(path)
        named = self.arrays(path, heads)
        labels: dict[str, Labels] = {}
        names = self.class_names
        for part, (_, array) in named.items():
            where = f"{printable(path)}, {array}"
            labels[part], names = numbered(where, read_array(path, array), names)
        images = {part: images for part, (images, _) in named.items()}
        pixels = ArrayPixels(
            path, {array: heads[array] for array in images.values()}, self.layout, self.background
        )
        channels = pixels.shape()[3]
        for part, array in images.items():
            if len(labels[part]) != heads[array].shape[0]:
                raise UserError(
                    f"{printable(path)}: every image needs one label, got {heads[array].shape[0]} "
                    f"in {array} and {len(labels[part])} in {named[part][1]}; remove what has no "
                    "partner"
                )
        name = printable(path.stem)
        return Listing(name, channels, names, lambda: labels, pixels)

    def arrays(self, path: Path, heads: Mapping[str, ArrayHead]) -> dict[str, tuple[str, str]]:
        """Returns the names of the images and labels of each part that is there."""
        found = {}
        for part, known in KNOWN.items():
            prefix = "" if part == "train" else f"{part}_"
            usual = next((pair for pair in known if pair[0] in heads), known[0])
            given = [getattr(self, f"{prefix}{what}") for what in ("images", "labels")]
            pair = (given[0] or usual[0], given[1] or usual[1])
            if part != "train" and not any(given) and pair[0] not in heads:
                continue
            for array, what in zip(pair, ("images", "labels"), strict=True):
                if array not in heads:
                    there = ", ".join(f"{name} {head}" for name, head in heads.items())
                    raise UserError(
                        f"{printable(path)}: there is no array {array!r}; its arrays are {there}; "
                        f"name the one that holds them, as in {prefix}{what}: NAME"
                    )
            found[part] = pair
        return found
