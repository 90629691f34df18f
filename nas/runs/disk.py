"""Disk: how many bytes a run takes, and how many of them are weights."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a run takes on disk.

    Attributes:
        bytes: Of all its files.
        weights: Networks whose weights are on file.
        weight_bytes: Of their files.
        front_weight_bytes: Of those of the front.
    """

    bytes: int
    weights: int
    weight_bytes: int
    front_weight_bytes: int


def disk_use(run: RunFolder, front: Collection[str]) -> DiskUse:
    """Returns what a run takes; files that vanish meanwhile count for nothing.

    Args:
        front: The hashes of the networks on its front.
    """
    sizes = dict(files_of(run.path))
    whole = run.weights.glob("[!.]*.safetensors")
    of_weights = {path.stem: sizes[path] for path in whole if path in sizes}
    return DiskUse(
        sum(sizes.values()),
        len(of_weights),
        sum(of_weights.values()),
        sum(size for key, size in of_weights.items() if key in front),
    )


def files_of(folder: Path) -> Iterator[tuple[Path, int]]:
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            try:
                yield path, path.lstat().st_size
            except OSError:
                continue
