"""Decoding: encoded images (PNG, JPEG, ...) to uint8 arrays of one size.

Shape letters: N images, H and W spatial size, C channels.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import ImageColor

from nas.data.images import Pixels
from nas.data.picture import (
    BROKEN,
    FITS,
    MODES,
    PictureError,
    open_picture,
    read_picture,
    reason,
)
from search_spaces.graphs.errors import UserError

Encoded = Path | bytes
Where = tuple[str, Encoded]  # where an image is, in words, and its file or bytes
Size = tuple[int, int]  # (height, width)
AT_ONCE = 64  # images that are decoded side by side
NAMED = 10  # broken images that a message names; of the rest it says how many
SHOWN_FROM = 500  # images; fewer are decoded before a bar could be read
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # of EXIF; these swap height and width
T = TypeVar("T")
PAGED = ("TIFF", "GIF", "WEBP", "PNG")  # formats in which several pictures may follow each other


@dataclass(frozen=True, slots=True)
class Look:
    """What the head of an image file says.

    Attributes:
        size: Height and width as it is to be seen.
        mode: Pillow's, as in ``RGBA``.
        pages: Pages or frames; the first is the image.
        is_turned: Whether its EXIF data turns or mirrors it.
    """

    size: Size
    mode: str
    pages: int
    is_turned: bool


def look(encoded: Encoded) -> Look:
    """Returns what the head of an image says.

    Raises:
        PictureError: If it has none that can be read.
    """
    try:
        with open_picture(encoded) as image:
            pages = int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1
            try:
                orientation = image.getexif().get(ORIENTATION, 1)
            except Exception:  # damaged EXIF data, in one of many ways, is none
                orientation = 1
            width, height = image.size
            size = (width, height) if orientation in SIDEWAYS else (height, width)
            return Look(size, image.mode, pages, orientation not in (0, 1))
    except PictureError:
        raise
    except BROKEN as error:
        raise PictureError(reason(error)) from None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Encoded images, and how they become pixels.

    Attributes:
        name: What messages call them.
        files: What they are and when they were written, so that other ones are decoded anew.
        count: How many there are.
        read: Opens them, in order.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width of the pixels; None keeps those of the images.
        fit: How another aspect ratio is made to fit, one of ``squash``, ``crop``, ``pad``.
        background: What transparency is composited on, and ``pad`` adds.
        fallback: The resolution where ``resolution`` is None and sizes differ; None refuses them.
        leading: How many, of the first, must have one size; later ones are resized to it.
        notes: What is known of the images before they are decoded.
    """

    name: str
    files: tuple[object, ...]
    count: int
    read: Callable[[], Iterator[Where]]
    channels: int
    resolution: Size | None
    fit: str
    background: str
    fallback: Size | None = None
    leading: int | None = None
    own_size: Size | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise UserError(
                f"{self.name}: channels must be 1 (grey) or 3 (colour), got {self.channels}"
            )
        if self.resolution is not None and min(self.resolution) < 1:
            raise UserError(f"{self.name}: resolution must be at least 1x1, got {self.resolution}")
        if self.fit not in FITS:
            raise UserError(f"{self.name}: fit must be {', '.join(FITS)}, got {self.fit!r}")
        try:
            ImageColor.getrgb(self.background)
        except (ValueError, AttributeError, TypeError):
            raise UserError(
                f"{self.name}: background must be a colour such as white or '#808080', got "
                f"{self.background!r}"
            ) from None
        if self.count == 0:
            raise UserError(f"{self.name}: there are no images")

    @property
    def identity(self) -> tuple[object, ...]:
        size = self.resolution or "their own size"
        return (self.files, self.count, self.channels, size, self.fit, self.background)

    def forms(self) -> tuple["Pictures", ...]:
        """Returns what these may turn out to be: of one size, or resized."""
        plain = replace(self, fallback=None)
        if self.resolution is not None or self.fallback is None:
            return (plain,)
        return plain, replace(plain, resolution=self.fallback)

    def settled(self) -> "Pictures":
        """Returns these with a size, after a look at each where none is given."""
        if self.resolution is not None:
            return self
        sizes, broken = self.sizes()
        if broken:
            raise UserError(self.all_broken())
        if len(sizes) == 1:
            return replace(self, fallback=None, own_size=next(iter(sizes)))
        ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        spread = f"{len(sizes)} sizes from {sized(ordered[0])} to {sized(ordered[-1])}"
        if self.fallback is None:
            raise UserError(
                f"{self.name}: images must have one size, got {spread} ({sizes[ordered[0]]}, "
                f"{sizes[ordered[-1]]}); set resolution and all are resized to it"
            )
        note = (
            f"{self.name}: {spread}, all are resized to {sized(self.fallback)} (fit: "
            f"{self.fit}), as no resolution is set"
        )
        return replace(self, resolution=self.fallback, fallback=None, notes=(*self.notes, note))

    def sizes(self) -> tuple[dict[Size, str], bool]:
        """Returns where each size is first seen, and whether a head could not be read."""
        found: dict[Size, str] = {}
        broken = False
        with quiet():
            for (where, _), seen in in_threads(looked_at, islice(self.read(), self.leading)):
                if isinstance(seen, PictureError):
                    broken = True
                else:
                    found.setdefault(seen.size, where)
        return found, broken

    def shape(self) -> tuple[int, int, int, int]:
        size = self.resolution or self.own_size
        assert size is not None, "settled() has found it out"
        return (self.count, *size, self.channels)

    def decode(self, out: Pixels, /) -> tuple[str, ...]:
        size = self.resolution or self.own_size
        broken: list[tuple[str, PictureError]] = []
        paged = 0

        def decoded(encoded: Encoded) -> tuple[Pixels, int] | PictureError:
            try:
                pixels = read_picture(encoded, self.channels, size, self.fit, self.background)
                return pixels, look(encoded).pages
            except PictureError as error:
                return error

        with quiet():
            images = shown(self.read(), self.count, f"decoding {self.name}")
            for row, ((where, _), found) in enumerate(in_threads(decoded, images)):
                if isinstance(found, PictureError):
                    broken.append((where, found))
                else:
                    out[row] = found[0]
                    paged += found[1] > 1
        if broken:
            raise UserError(broken_message(self.name, broken, self.count))
        if paged:
            note = f"{self.name}: {paged} files have several pages or frames; the first is taken"
            return (*self.notes, note)
        return self.notes

    def all_broken(self) -> str:
        """Returns a message that names what cannot be decoded, whatever its size."""
        broken: list[tuple[str, PictureError]] = []

        def failed(encoded: Encoded) -> PictureError | None:
            try:
                read_picture(encoded, self.channels, (1, 1))
            except PictureError as error:
                return error
            return None

        with quiet():
            for (where, _), error in in_threads(failed, self.read()):
                if error is not None:
                    broken.append((where, error))
        return broken_message(self.name, broken, self.count)


def looked_at(encoded: Encoded) -> Look | PictureError:
    try:
        return look(encoded)
    except PictureError as error:
        return error


def broken_message(name: str, broken: list[tuple[str, PictureError]], count: int) -> str:
    """Returns the message for images that cannot be read, the first ten by name."""
    reasons = {str(error) for _, error in broken}
    shared = f" ({reasons.pop()})" if len(reasons) == 1 else ""
    named = [where if shared else f"{where} ({error})" for where, error in broken[:NAMED]]
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return (
        f"{name}: {len(broken)} of {count} images cannot be read: {', '.join(named)}{more}"
        f"{shared}; replace or remove them"
    )


def in_threads(
    function: Callable[[Encoded], T], images: Iterable[Where]
) -> Iterator[tuple[Where, T]]:
    """Yields each image and what ``function`` returns for it, in order, a few at a time."""
    left = iter(images)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while some := list(islice(left, AT_ONCE)):
            yield from zip(some, pool.map(function, (image for _, image in some)), strict=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps back what Pillow warns of (odd EXIF data, large pictures): none is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shown(images: Iterator[Where], count: int, what: str) -> Iterable[Where]:
    """Returns the images behind a bar with the time left, on a terminal."""
    if count < SHOWN_FROM or not sys.stderr.isatty():
        return images
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    return track(images, escape(what), count, console=Console(stderr=True), transient=True)


def sized(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
