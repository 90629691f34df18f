"""Data summary: which images a run saw, small enough to stand beside its numbers."""

from typing import Any

from nas.data.splits import SPLITS, Splits


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
