"""Image folder: one sub-folder a class, as in ``cats/001.png``, or ``train/cats/001.png``."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

from nas.data.images import Labels
from nas.data.picture import BROKEN
from nas.data.sources.decode import Pictures, Size, Where
from nas.data.sources.labels import in_short, same_form
from nas.data.sources.listing import OWN, Listing
from search_spaces.graphs.errors import UserError

# Taken for images by their names alone, so that a damaged one is named and not left out.
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images in folders named after their classes, in alphabetical order.

    A root of ``train`` and ``val`` or ``test`` folders of classes is taken for these splits.
    Sub-folders of a class are entered. What has no suffix of an image is told by its content.

    Attributes:
        validation_path: A second such folder whose images are the validation split.
        test_path: Another one whose images are the test split.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width all images are resized to; None where all have one size.
        fit: How another aspect ratio is made to fit: ``squash``, ``crop`` or ``pad``.
        background: What transparency is composited on.
    """

    path: str
    test_path: str | None = None
    validation_path: str | None = None
    channels: int = 3
    resolution: tuple[int, int] | None = None
    fit: str = "squash"
    background: str = "white"

    def listing(self, fallback: Size | None = None) -> Listing:
        roots, notes = self.roots()
        found = {part: read_part(root, part) for part, root in roots.items()}
        names = tuple(found["train"].paths)
        for part, images in found.items():
            check_known(roots[part], images, names, roots["train"])
            notes += images.notes()
        files = [path for part in OWN if part in found for path in found[part].in_order(names)]
        labels = {part: found[part].labels(names) for part in OWN if part in found}
        root = Path(self.path).expanduser()
        name = printable(root.name or root.resolve().name)
        pictures = Pictures(
            name,
            tuple(map(identity, files)),
            len(files),
            lambda: opened(files),
            self.channels,
            self.resolution,
            self.fit,
            self.background,
            fallback,
            leading=len(labels["train"]),
        )
        return Listing(name, self.channels, names, lambda: labels, pictures, tuple(notes))

    def roots(self) -> tuple[dict[str, Path], list[str]]:
        """Returns the folder of class folders of each part, and what to say of them."""
        root = Path(self.path).expanduser()
        roots, notes = split_folders(root)
        for part, path in (("validation", self.validation_path), ("test", self.test_path)):
            if path is not None:
                roots[part] = Path(path).expanduser()
        return roots, notes


@dataclass(frozen=True, slots=True)
class PartFound:
    """The images of one part.

    Attributes:
        paths: Of each class that has images, its name in one Unicode form.
        left_out: How many files were left out, by reason.
        merged: Classes whose names stand there in several forms.
    """

    root: Path
    paths: Mapping[str, tuple[Path, ...]]
    left_out: Mapping[str, int]
    merged: tuple[str, ...]

    def notes(self) -> list[str]:
        where = printable(self.root)
        reasons = ", ".join(f"{why} ({count})" for why, count in sorted(self.left_out.items()))
        notes = [f"{where}: left out: {reasons}"] if reasons else []
        return notes + [f"{where}: folders of {name!r} are one class" for name in self.merged]

    def in_order(self, names: tuple[str, ...]) -> Iterator[Path]:
        for name in names:
            yield from self.paths.get(name, ())

    def labels(self, names: tuple[str, ...]) -> Labels:
        counts = [len(self.paths.get(name, ())) for name in names]
        return np.repeat(np.arange(len(names), dtype=np.int64), counts)


def split_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns the folder of each part: the splits where the root has them, else itself."""
    if not root.is_dir():
        raise UserError(
            f"{printable(root)}: there is no such folder; give the folder of class folders"
        )
    folders = {path.name.lower(): path for path in visible(root) if path.is_dir()}
    found = {
        part: next(folders[name] for name in names if name in folders)
        for part, names in SPLIT_FOLDERS.items()
        if any(name in folders for name in names)
    }
    has_classes = {part: any(map(holds_images, sub_folders(path))) for part, path in found.items()}
    if not has_classes.get("train") or (len(found) == 1 and len(folders) > 1):
        return {"train": root}, []
    notes, where = [], printable(root)
    taken = [f"{path.name}/ as {part}" for part, path in found.items() if has_classes[part]]
    notes.append(f"{where}: taken {', '.join(taken)}")
    if others := [path.name for path in folders.values() if path not in found.values()]:
        notes.append(f"{where}: left out: folders that are no split ({in_short(others)})")
    for part, path in found.items():
        if not has_classes[part]:
            notes.append(f"{where}: left out: {path.name}/, which has no folders of classes")
    return {part: path for part, path in found.items() if has_classes[part]}, notes


def read_part(root: Path, part: str) -> PartFound:
    """Finds the images in the class folders of ``root``.

    Raises:
        UserError: If there are none, or a name is not UTF-8.
    """
    where = printable(root)
    if not root.is_dir():
        raise UserError(f"{where}: there is no such folder; give the folder of class folders")
    folders = sub_folders(root)
    left_out: Counter[str] = Counter()
    strays = sum(looks_like_image(path) for path in visible(root) if path.is_file())
    if strays:
        left_out["pictures in no class folder"] += strays
    if not folders:
        raise UserError(
            f"{where}: an image folder needs one sub-folder a class, got "
            f"{f'{strays} pictures' if strays else 'nothing'} and no folder; put each class's "
            "images into a folder of its name"
        )
    paths: dict[str, list[Path]] = {}
    forms: dict[str, set[str]] = {}
    for folder in sorted(folders, key=class_name):
        images = list(images_in(folder, left_out))
        if images:
            paths.setdefault(class_name(folder), []).extend(sorted(images))
            forms.setdefault(class_name(folder), set()).add(folder.name)
        else:
            left_out["folders without images"] += 1
    if part == "train" and len(paths) < 2:
        raise UserError(
            f"{where}: classification needs at least two class folders with images, got "
            f"{in_short(list(paths)) or 'none'}; add the images of another class"
        )
    if not paths:
        raise UserError(
            f"{where}: the class folders of {part} images are all empty; put images into them, or "
            "name another folder"
        )
    merged = tuple(name for name, written in forms.items() if len(written) > 1)
    return PartFound(root, {name: tuple(p) for name, p in paths.items()}, left_out, merged)


def check_known(root: Path, found: PartFound, names: tuple[str, ...], train: Path) -> None:
    unknown = [name for name in found.paths if name not in names]
    if unknown:
        raise UserError(
            f"{printable(root)}: every class must be in {printable(train)} too, got "
            f"{in_short(unknown)} here only; add training images of it, or give that folder the "
            "name of its class"
        )


def images_in(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Yields the images below a folder; counts what else is there."""
    for place, below, files in os.walk(folder, onerror=refuse):
        for name in [name for name in below if is_hidden(name)]:
            below.remove(name)
            left_out["hidden folders"] += 1
        for name in below:
            if (Path(place) / name).is_symlink():  # may lead back here
                left_out["linked sub-folders"] += 1
        for name in files:
            path = Path(place) / name
            if is_hidden(name):
                left_out["hidden files"] += 1
            elif looks_like_image(path):
                yield path
            else:
                left_out["files that are no images"] += 1


def looks_like_image(path: Path) -> bool:
    """Whether a file has the suffix of an image, or its content where the suffix says nothing."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with Image.open(path) as image:
            return image.format in FORMATS
    except BROKEN:
        return False


def holds_images(folder: Path) -> bool:
    return next(images_in(folder, Counter()), None) is not None


def sub_folders(root: Path) -> list[Path]:
    return [path for path in visible(root) if path.is_dir()]


def visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError as error:
        refuse(error)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM


def class_name(folder: Path) -> str:
    try:
        return same_form(os.fsencode(folder.name).decode())
    except UnicodeDecodeError:
        raise UserError(
            f"{printable(folder)}: the name of a class must be UTF-8, got other bytes; rename "
            "the folder"
        ) from None


def opened(files: list[Path]) -> Iterator[Where]:
    return ((printable(path), path) for path in files)


def identity(path: Path) -> tuple[str, int, int]:
    """Returns what changes with a file."""
    try:
        stat = path.stat()
    except OSError:  # a link that leads nowhere: decoding names it
        return str(path), 0, 0
    return str(path.absolute()), stat.st_size, stat.st_mtime_ns


def printable(path: Path | str) -> str:
    """Returns a path as text, bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def refuse(error: OSError) -> NoReturn:
    raise UserError(f"{printable(error.filename or '')}: {error.strerror}; make it readable")
