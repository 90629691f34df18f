"""Decoding: encoded images (PNG, JPEG, ...) to uint8 arrays of one size."""

from collections.abc import Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from struct import error as StructError  # noqa: N812  (a class with a lower-case name)

import numpy as np
from PIL import Image
from PIL.Image import DecompressionBombError

from nas.data.images import Pixels
from nas.nn.memory import free_bytes
from search_spaces.graphs.errors import UserError

Encoded = Path | bytes
BROKEN = (OSError, SyntaxError, ValueError, EOFError, StructError, DecompressionBombError)
MODES = {1: "L", 3: "RGB"}


def decode_images(
    name: str,
    encoded: Sequence[tuple[str, Encoded]],
    channels: int,
    resolution: tuple[int, int] | None,
) -> Pixels:
    """Returns ``(N, H, W, channels)``.

    Args:
        encoded: Where each image is, in words, and its file or bytes.
        channels: 1 turns colour to grey, 3 repeats grey; transparency is dropped.
        resolution: Height and width that every image is resized to (bilinear, the aspect ratio
            is not kept); None takes the size that all have.

    Raises:
        UserError: If an image cannot be read (the message names it), sizes differ and no
            resolution is given, or the whole does not fit in memory.
    """
    if channels not in MODES:
        raise UserError(f"{name}: channels must be 1 (grey) or 3 (colour), got {channels}")
    if resolution is not None and min(resolution) < 1:
        raise UserError(f"{name}: resolution must be at least 1x1, got {resolution}")
    if not encoded:
        raise UserError(f"{name}: there are no images")
    if resolution is not None:
        check_memory(name, (len(encoded), *resolution, channels))
    first = decode_image(*encoded[0], channels, resolution)
    check_memory(name, (len(encoded), *first.shape))
    images = np.empty((len(encoded), *first.shape), np.uint8)
    for row, (where, image) in enumerate(encoded):
        pixels = decode_image(where, image, channels, resolution)
        if pixels.shape != first.shape:
            raise UserError(
                f"{where}: images must have one size, got {sized(pixels)} after {sized(first)} in "
                f"{encoded[0][0]}; set resolution and all are resized to it"
            )
        images[row] = pixels
    return images


def decode_image(
    where: str, encoded: Encoded, channels: int, resolution: tuple[int, int] | None
) -> Pixels:
    try:
        with Image.open(BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as file:
            mode = file.mode
            pixels = None if mode.startswith(("I", "F")) else converted(file, channels, resolution)
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{where}: the image cannot be read ({reason}); replace or remove it"
        ) from None
    if pixels is None:
        raise UserError(
            f"{where}: images must have 8 bits a channel, got mode {mode!r}; convert it to 8 bits"
        )
    return pixels


def converted(image: Image.Image, channels: int, resolution: tuple[int, int] | None) -> Pixels:
    image = image.convert("RGBA") if image.mode == "P" else image  # a palette may be transparent
    image = image.convert(MODES[channels])
    if resolution is not None:
        image = image.resize(resolution[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, channels)


def check_memory(name: str, shape: tuple[int, ...]) -> None:
    num_bytes, free = prod(shape), free_bytes()
    if num_bytes > free:
        raise UserError(
            f"{name}: the images decode to {num_bytes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB "
            "of memory are free; set a smaller resolution or use fewer images"
        )


def sized(pixels: Pixels) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"
