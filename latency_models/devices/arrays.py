"""Arrays from files: held against shape, kind and range where they are read, not where they fail.

An array file is an ``.npz`` whose parts say how large they are before they are unpacked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

MOST_BYTES = 1 << 30  # of all arrays of a file together
LARGEST = 1e15  # of a number that means milliseconds, sizes or amounts of work
Sort = Literal["real", "whole"]
SORTS: Mapping[Sort, str] = {"real": "f", "whole": "iu"}  # numpy's letters of them


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Returns every array of a file, none of them pickled.

    Raises:
        UserError: If they are larger than ours ever are. What is no such file fails in many ways.
    """
    with path.open("rb") as opened, NpzFile(opened, allow_pickle=False) as file:
        if file.zip is not None and sum(i.file_size for i in file.zip.infolist()) > MOST_BYTES:
            raise UserError(f"its arrays take more than {MOST_BYTES} bytes")
        return {name: file[name] for name in file.files}


def checked_array(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    shape: tuple[int | None, ...],
    low: float = -LARGEST,
    high: float = LARGEST,
    sort: Sort = "real",
) -> NDArray[Any]:
    """Returns the array called ``name``, if it is what it should be.

    Args:
        shape: None is any size.
        low: The least number that it may hold.
        high: The largest one.

    Raises:
        UserError: If it is missing, of another shape or kind, or a number is out of range or none.
    """
    if name not in arrays:
        raise UserError(f"array {name!r} is missing")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("N" if size is None else str(size) for size in shape)
        raise UserError(f"array {name!r} must be of shape {wanted}, got {array.shape}")
    if array.dtype.kind not in SORTS[sort]:
        raise UserError(f"array {name!r} must hold {sort} numbers, got {array.dtype}")
    if array.size and not (
        low <= float(array.min()) and float(array.max()) <= high
    ):  # NaN is neither
        raise UserError(f"array {name!r} must hold numbers between {low:g} and {high:g}")
    return array
