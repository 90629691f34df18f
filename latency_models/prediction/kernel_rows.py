"""Kernel rows: kernels as numbers, the form in which models fit and predict them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from latency_models.prediction.features import FEATURES, TERMS, Description

Floats = NDArray[np.float64]
RANGED = ("log_macs", "log_read", "log_written", "log_weights")  # what a kernel's size is
RANGED_AT = [FEATURES.index(name) for name in RANGED]


@dataclass(frozen=True, slots=True, eq=False)
class KernelRows:
    """Kernels as rows; S of them.

    Attributes:
        kinds: (S,) texts; kernels of one kind differ in size only.
        families: (S,) texts; kernels of one family have one piece of code.
        precisions: (S,) texts.
        macs: (S,).
        moved_bytes: (S,).
        terms: (S, T), see `TERMS`.
        features: (S, F), see `FEATURES`.
    """

    kinds: NDArray[np.str_]
    families: NDArray[np.str_]
    precisions: NDArray[np.str_]
    macs: Floats
    moved_bytes: Floats
    terms: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.macs)

    @property
    def sizes(self) -> Floats:
        """(S, R): the logarithms of what tells how large a kernel is."""
        return self.features[:, RANGED_AT]

    def rows(self, where: NDArray[np.bool_] | NDArray[np.intp]) -> "KernelRows":
        """Returns some of the rows."""
        return KernelRows(*(getattr(self, column.name)[where] for column in fields(self)))


def rows_of(descriptions: Sequence[Description]) -> KernelRows:
    """Returns descriptions as a table."""
    return KernelRows(
        np.array([each.kind for each in descriptions], np.str_),
        np.array([each.family for each in descriptions], np.str_),
        np.array([each.precision for each in descriptions], np.str_),
        np.array([each.macs for each in descriptions], np.float64),
        np.array([each.moved_bytes for each in descriptions], np.float64),
        np.array([each.terms for each in descriptions], np.float64).reshape(-1, len(TERMS)),
        np.array([each.features for each in descriptions], np.float64).reshape(-1, len(FEATURES)),
    )
