"""Pictures of random pixels, and the files that they come in."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    """A picture of random pixels, ``size`` in (height, width)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, suffix: str = "png") -> bytes:
    stream = BytesIO()
    image.save(stream, suffix)
    return stream.getvalue()


def npy_file() -> bytes:
    stream = BytesIO()
    np.save(stream, np.zeros(3, np.uint8))
    return stream.getvalue()


def image_folder(
    root: Path,
    classes: tuple[str, ...] = ("cat", "dog"),
    each: int = 3,
    sizes: tuple[tuple[int, int], ...] = ((6, 5),),
) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(each):
            drawn = picture(10 * label + index, sizes[index % len(sizes)])
            drawn.save(root / name / f"{index}.png")
    return root


def parquet_file(path: Path, images: list[Any], labels: list[Any]) -> Path:
    pd.DataFrame({"image": images, "label": labels}).to_parquet(path)
    return path
