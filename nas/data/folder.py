"""Image folder: one sub-folder a class, as in ``cats/001.png``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.decode import decode_images
from nas.data.images import ImageData
from search_spaces.graphs.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images in folders named after their classes, in alphabetical order.

    Files of other types than images and hidden files are left out; sub-folders of a class are
    not entered.

    Attributes:
        test_path: A second such folder whose images are the test split.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width all images are resized to; None where all have one size.
    """

    path: str
    test_path: str | None = None
    channels: int = 3
    resolution: tuple[int, int] | None = None

    def load(self) -> tuple[ImageData, ImageData | None]:
        data = self.read(Path(self.path).expanduser(), self.resolution)
        if self.test_path is None:
            return data, None
        # The test images must be of the size that training has seen.
        test = self.read(Path(self.test_path).expanduser(), data.image_shape[1:])
        if test.class_names != data.class_names:
            differing = sorted({*test.class_names} ^ {*data.class_names})
            raise UserError(
                f"{self.test_path}: the test folder must have the classes of {self.path}, class "
                f"{differing[0]!r} is only in one of them"
            )
        return data, test

    def read(self, root: Path, resolution: tuple[int, int] | None) -> ImageData:
        if not root.is_dir():
            raise UserError(f"{root}: there is no such folder; give the folder of class folders")
        folders = [path for path in visible(root) if path.is_dir()]
        if not folders:
            raise UserError(
                f"{root}: an image folder needs one sub-folder a class, got none; move each "
                "class's images to a folder of its name"
            )
        files, labels = [], []
        for label, folder in enumerate(folders):
            found = [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]
            if not found:
                raise UserError(
                    f"{folder}: every class folder needs images ({' '.join(SUFFIXES)}), got none; "
                    "remove the folder or add images"
                )
            files += [(str(path), path) for path in found]
            labels += [label] * len(found)
        names = tuple(folder.name for folder in folders)
        if len(names) < 2:
            raise UserError(
                f"{root}: classification needs at least two classes, got one ({names[0]}); add "
                "the folder of another class"
            )
        images = decode_images(str(root), files, self.channels, resolution)
        return ImageData(root.name, images, np.array(labels, np.int64), names)


def visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
