"""Whole files: written beside their place, flushed and renamed, so there whole or not at all."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import parse_json, read_as


def read_json(
    path: Path,
    remedy: str = "restore it from a copy",
    kinds: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the mapping that a JSON file of a run holds.

    Args:
        kinds: What the values of some keys must be, as an annotation; a key may be missing.

    Raises:
        FileNotFoundError: If it is not there.
        UserError: If it is damaged.
    """
    try:
        data = parse_json(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no mapping")
        given = {key: kind for key, kind in (kinds or {}).items() if key in data}
        return data | {key: read_as(kind, data[key], key) for key, kind in given.items()}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from None


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut.

    Raises:
        UserError: If the disk is full; what was there before stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: cannot write {path} ({len(content)} bytes); everything "
                "finished so far is kept; free some space and go on with --resume"
            ) from None
        raise


def arrays_bytes(
    arrays: Mapping[str, NDArray[Any]], about: Mapping[str, str] | None = None
) -> bytes:
    """Returns a safetensors file of arrays, and of text about them."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return bytes(save(contiguous, dict(about) if about else None))


class DiskFullError(UserError):
    """No room for a file of the run."""


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_parts(folder: Path) -> None:
    """Removes what a killed process was in the middle of writing, in all of a folder."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
