"""Picture: an image file as 8-bit pixels, the same for training and for an exported network.

This file is copied beside exported networks, so it needs numpy and Pillow alone.

What a file says is kept: the turn in its EXIF data is applied, transparency is composited on a
colour, 16-bit grey is scaled to 8 bits (``value // 257``), of several pages the first is taken.

Shape letters: H and W spatial size, C channels (1 grey, 3 colour).
"""

from io import BytesIO
from pathlib import Path
from struct import error as StructError  # noqa: N812  (a class with a lower-case name)
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError, Resampling

FITS = ("squash", "crop", "pad")
MODES = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, StructError, DecompressionBombError)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
UNREADABLE_EXIF = (SyntaxError, ValueError, TypeError, KeyError, StructError, ArithmeticError)


class PictureError(ValueError):
    """A picture that cannot be read, and in a few words why."""


def read_picture(
    file: Path | bytes,
    channels: int,
    size: tuple[int, int] | None = None,
    fit: str = "squash",
    background: str = "white",
) -> Any:  # noqa: ANN401  (an array; this file also stands without the project's types)
    """Returns the pixels of an encoded image, ``(H, W, C)`` uint8.

    Args:
        channels: 1 turns colour to grey, 3 repeats grey.
        size: Height and width; None keeps those of the picture.
        fit: How another aspect ratio is made to fit: ``squash`` stretches it, ``crop`` cuts the
            longer side at both ends, ``pad`` adds ``background``. Bilinear, with antialiasing.
        background: What transparency is composited on, a colour as in CSS.

    Raises:
        PictureError: If it cannot be read.
    """
    try:
        with open_picture(file) as image:
            return pixels_of(image, channels, size, fit, background)
    except PictureError:
        raise
    except BROKEN as error:
        raise PictureError(reason(error)) from None


def open_picture(file: Path | bytes) -> Image.Image:
    """Returns an encoded image, of which only the head is read yet.

    Pillow reads the HEIC of phones by a package of its own, which is asked for where it is needed.

    Raises:
        PictureError: If it is HEIC and that package is missing; Pillow has errors of its own.
    """
    try:
        return Image.open(BytesIO(file) if isinstance(file, bytes) else file)
    except UnidentifiedImageError:
        if not is_heif(file):
            raise
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise PictureError("HEIC; pip install pillow-heif, or convert it to JPEG") from None
    register_heif_opener()
    return Image.open(BytesIO(file) if isinstance(file, bytes) else file)


def is_heif(file: Path | bytes) -> bool:
    head = file[:12] if isinstance(file, bytes) else file.open("rb").read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "cannot identify image file" in text:  # goes on with the address of a buffer
        return "no image format that Pillow knows"
    return text.replace("_", " ") if isinstance(error, StructError) else text


def pixels_of(
    image: Image.Image, channels: int, size: tuple[int, int] | None, fit: str, background: str
) -> Any:  # noqa: ANN401  (an array)
    """Returns an open image's pixels as `read_picture` does."""
    image = eight_bits(turned(image))
    if image.mode == "P" or image.has_transparency_data:
        image = composited(image.convert("RGBA"), background)
    image = image.convert(MODES[channels])
    if size is not None and image.size != size[::-1]:
        image = fitted(image, size[::-1], fit, background)
    return np.asarray(image).reshape(image.height, image.width, channels)


def turned(image: Image.Image) -> Image.Image:
    """Returns the image as its EXIF data says that it is held; as it is where that is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE_EXIF:
        return image


def eight_bits(image: Image.Image) -> Image.Image:
    """Returns 16-bit grey as 8-bit grey; other images as they are."""
    if image.mode == "F":
        raise PictureError("its pixels are floats; save it with 8 or 16 bits a channel")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise PictureError("its pixels have more than 16 bits; save it with 8 or 16")
    return Image.fromarray((values // 257).astype(np.uint8))


def composited(image: Image.Image, background: str) -> Image.Image:
    """Returns an RGBA image on a background of one colour, as RGB."""
    behind = Image.new("RGBA", image.size, (*ImageColor.getrgb(background)[:3], 255))
    return Image.alpha_composite(behind, image).convert("RGB")


def fitted(image: Image.Image, size: tuple[int, int], fit: str, background: str) -> Image.Image:
    """Returns the image at ``size`` in (width, height), as Pillow has it."""
    if fit == "squash":
        return image.resize(size, Resampling.BILINEAR)
    if fit == "crop":
        return ImageOps.fit(image, size, Resampling.BILINEAR)
    colour = ImageColor.getcolor(background, image.mode)
    return ImageOps.pad(image, size, Resampling.BILINEAR, color=colour)
