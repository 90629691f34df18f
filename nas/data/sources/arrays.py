"""Arrays in an NPZ file, read a few megabytes at a time, and what makes 8-bit pixels of them.

Shape letters: N images, H and W spatial size, C channels.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from nas.data.images import CHUNK_BYTES, Pixels
from nas.data.picture import pixels_of
from nas.data.sources.folder import identity, printable
from search_spaces.graphs.errors import UserError

Layout = Literal["auto", "NHWC", "NCHW"]
BAD_FILE = (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)
Scale = Callable[[NDArray[Any]], Pixels]


@dataclass(frozen=True, slots=True)
class ArrayHead:
    """What an array is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    def __str__(self) -> str:
        return f"({self.dtype}, {' x '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class ArrayPixels:
    """The images of all parts in one file.

    Attributes:
        arrays: The arrays of images, one a part, in the order of the parts.
    """

    path: Path
    arrays: Mapping[str, ArrayHead]
    layout: Layout
    background: str

    @property
    def identity(self) -> tuple[object, ...]:
        return (identity(self.path), tuple(self.arrays), self.layout, self.background)

    def forms(self) -> tuple["ArrayPixels", ...]:
        return (self,)

    def settled(self) -> "ArrayPixels":
        return self

    def shape(self) -> tuple[int, int, int, int]:
        shapes = {name: self.shape_of(name) for name in self.arrays}
        first = next(iter(shapes.values()))
        for name, shape in shapes.items():
            if shape[1:] != first[1:] or self.arrays[name].dtype != self.dtype:
                raise UserError(
                    f"{self.where(name)}: all images must have one shape and type, got "
                    f"{self.arrays[name]} after {next(iter(self.arrays.values()))}; resize them"
                )
        return (sum(shape[0] for shape in shapes.values()), *first[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return next(iter(self.arrays.values())).dtype

    def where(self, name: str) -> str:
        return f"{printable(self.path)}, {name}"

    def shape_of(self, name: str) -> tuple[int, int, int, int]:
        """Returns ``(N, H, W, C)`` of an array as pixels, with 1 or 3 channels."""
        head = self.arrays[name]
        axes = channels_last(self.where(name), head.shape, self.layout)
        count, height, width, channels = (*(head.shape[axis] for axis in axes), 1)[:4]
        return count, height, width, 3 if channels == 4 else channels

    def decode(self, out: Pixels, /) -> tuple[str, ...]:
        scale, notes = self.scaling()
        start = 0
        for name, head in self.arrays.items():
            axes = channels_last(self.where(name), head.shape, self.layout)
            for chunk in read_chunks(self.path, name, head):
                images = chunk[..., None] if len(axes) == 3 else chunk.transpose(axes)
                pixels = self.composited(scale(images))
                out[start : start + len(pixels)] = pixels
                start += len(pixels)
        return notes

    def composited(self, pixels: Pixels) -> Pixels:
        """Returns four channels as three, on the background."""
        if pixels.shape[3] != 4:
            return pixels
        images = (Image.fromarray(np.ascontiguousarray(image)) for image in pixels)
        return np.stack([pixels_of(image, 3, None, "squash", self.background) for image in images])

    def scaling(self) -> tuple[Scale, tuple[str, ...]]:
        """Returns what makes bytes of the values, one rule for all parts, and what to say of it.

        Raises:
            UserError: If no rule fits.
        """
        where, dtype = printable(self.path), self.dtype
        if dtype == np.uint8:
            return lambda values: values, ()
        if dtype == np.bool_:
            return lambda values: values.astype(np.uint8) * 255, ()
        low, high = self.value_range()
        if dtype.kind == "f" and low >= 0 and high <= 1:
            note = f"{where}: images of {dtype} in 0..1 are taken as round(255 * value)"
            return lambda values: np.rint(values * 255).astype(np.uint8), (note,)
        if low >= 0 and high <= 255:
            note = f"{where}: images of {dtype} in 0..255 are taken as round(value)"
            return lambda values: np.rint(values).astype(np.uint8), (note,)
        if dtype.kind in "iu" and low >= 0 and high <= 65535:
            note = f"{where}: images of {dtype} are taken as 16-bit, value // 257"
            return lambda values: (values // 257).astype(np.uint8), (note,)
        raise UserError(
            f"{where}: images must be 0..255, 16-bit whole numbers or floats in 0..1, got {dtype} "
            f"in {low:g}..{high:g}; scale them to 0..255 and save them with .astype(numpy.uint8)"
        )

    def value_range(self) -> tuple[float, float]:
        """Returns the smallest and the largest value of all arrays."""
        low, high = np.inf, -np.inf
        for name, head in self.arrays.items():
            if head.dtype.kind not in "iuf":
                raise UserError(f"{self.where(name)}: images must be numbers, got {head.dtype}")
            for chunk in read_chunks(self.path, name, head):
                if not np.isfinite(chunk).all():
                    raise UserError(
                        f"{self.where(name)}: pixels must be finite, got NaN or infinity; "
                        "replace them"
                    )
                low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
        return low, high


def channels_last(where: str, shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Returns the axes of an array as ``(N, H, W, C)``, or ``(N, H, W)`` of a grey one.

    Raises:
        UserError: If the channels cannot be told, or these are no images.
    """
    if layout not in get_args(Layout):
        raise UserError(f"{where}: layout must be auto, NHWC or NCHW, got {layout!r}")
    if len(shape) not in (3, 4) or 0 in shape:
        raise UserError(f"{where}: images must be of shape (N, H, W) or (N, H, W, C), got {shape}")
    if len(shape) == 3:
        return 0, 1, 2
    for channels in ((1, 3), (4,)):
        last, second = (shape[axis] in channels for axis in (3, 1))
        if layout == "auto" and last and second:
            raise UserError(
                f"{where}: shape {shape} can be NHWC or NCHW; set layout to one of them"
            )
        if last and layout != "NCHW":
            return 0, 1, 2, 3
        if second and layout != "NHWC":
            return 0, 2, 3, 1
    raise UserError(
        f"{where}: images must have 1, 3 or 4 channels, got shape {shape}; save the ones that "
        "are colours"
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what a damaged file raises into one line."""
    try:
        yield
    except UserError:
        raise
    except BAD_FILE as error:
        raise UserError(
            f"{printable(path)}: the file is no readable .npz of plain arrays "
            f"({str(error) or type(error).__name__}); save it with numpy.savez(path, images=..., "
            "labels=...)"
        ) from None


def read_heads(path: Path) -> dict[str, ArrayHead]:
    """Returns what the arrays of an ``.npz`` file are, by name.

    Raises:
        UserError: If there is no such file, or it is no ``.npz`` of plain arrays.
    """
    if not path.is_file():
        raise UserError(f"{printable(path)}: there is no such file; give the path of an .npz file")
    with readable(path), zipfile.ZipFile(path) as file:
        found = {}
        for name in file.namelist():
            if name.endswith(".npy"):
                with file.open(name) as stream:
                    found[name.removesuffix(".npy")] = read_head(stream)
        if not found:
            raise ValueError("no arrays in it")
        return found


def read_head(stream: IO[bytes]) -> ArrayHead:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return ArrayHead(shape, dtype, is_fortran)


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Returns one array, whole."""
    with readable(path), np.load(path, allow_pickle=False) as file:
        found: NDArray[Any] = file[name]
        return found


def read_chunks(path: Path, name: str, head: ArrayHead) -> Iterator[NDArray[Any]]:
    """Yields the rows of an array, a few megabytes at a time."""
    row_bytes = max(1, prod(head.shape[1:]) * head.dtype.itemsize)
    step = max(1, CHUNK_BYTES // row_bytes)
    if head.is_fortran or head.dtype.hasobject:  # its rows do not lie one after the other
        whole = read_array(path, name)
        yield from (whole[start : start + step] for start in range(0, len(whole), step))
        return
    with readable(path), zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
        read_head(stream)
        for start in range(0, head.shape[0], step):
            count = min(step, head.shape[0] - start)
            data = stream.read(count * row_bytes)
            if len(data) < count * row_bytes:
                raise EOFError(f"{name} is cut off")
            yield np.frombuffer(data, head.dtype).reshape(count, *head.shape[1:])
