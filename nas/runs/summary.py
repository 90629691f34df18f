"""Data summary: which images a run saw, small enough to stand beside its numbers."""

from pathlib import Path
from typing import Any

from nas.data.splits import SPLITS, Splits
from nas.runs.files import read_json
from search_spaces.graphs.errors import UserError


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
        before = read_json(recorded)["fingerprints"]
    except FileNotFoundError:
        return
    now = data_summary(splits)["fingerprints"]
    changed = [name for name in SPLITS if before[name] != now[name]]
    if changed:
        raise UserError(
            f"the {' and '.join(changed)} images differ from those that the search saw (their "
            f"fingerprints in {recorded}); restore the data, or search anew"
        )
