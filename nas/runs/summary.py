"""Data summary: which images a run saw, small enough to stand beside its numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.data.splits import SPLITS, Splits
from nas.runs.files import read_json
from search_spaces.graphs.errors import UserError

# What data.json says, where it says it.
RECORD: Mapping[str, Any] = {
    "name": str,
    "image_shape": tuple[int, int, int],
    "class_names": tuple[str, ...],
    "mean": tuple[float, ...],
    "std": tuple[float, ...],
    "sizes": Mapping[str, int],
    "fingerprints": Mapping[str, str],
}
REMEDY = "restore it from a copy, or delete it, and the data is taken as it is now"


def read_summary(recorded: Path) -> dict[str, Any]:
    """Returns what a run has recorded of its data.

    Raises:
        FileNotFoundError: If it has not.
        UserError: If the file is damaged.
    """
    data = read_json(recorded, REMEDY, RECORD)
    for name, inner in (
        *((key, ()) for key in RECORD),
        ("sizes", SPLITS),
        ("fingerprints", SPLITS),
    ):
        if name not in data or any(split not in data[name] for split in inner):
            raise UserError(f"{recorded} is damaged (its {name} are missing); {REMEDY}")
    return data


def data_summary(splits: Splits) -> dict[str, Any]:
    """Returns sizes, fingerprints and input statistics of the splits as JSON-ready data."""
    parts = {name: getattr(splits, name) for name in SPLITS}
    return {
        "name": splits.train.name.removesuffix(" train"),
        "image_shape": list(splits.train.image_shape),
        "class_names": list(splits.train.class_names),
        "mean": list(splits.normalization.mean),
        "std": list(splits.normalization.std),
        "sizes": {name: len(part) for name, part in parts.items()},
        "fingerprints": {name: part.fingerprint for name, part in parts.items()},
    }


def check_same_data(recorded: Path, splits: Splits) -> None:
    """Compares ``splits`` with what a run has recorded in its ``data.json``.

    Raises:
        UserError: If an image or label differs, or is in another split.
    """
    try:
        before = read_summary(recorded)["fingerprints"]
    except FileNotFoundError:
        return
    now = data_summary(splits)["fingerprints"]
    changed = [name for name in SPLITS if before[name] != now[name]]
    if changed:
        raise UserError(
            f"the {' and '.join(changed)} images differ from those that the search saw (their "
            f"fingerprints in {recorded}); restore the data, or search anew"
        )
