"""Parity: whether a file computes what the trained network computed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search_spaces.errors import UserError
from search_spaces.model import Array

LIMIT = 1e-4
# The share of a map's codes, by their bits, that a right file may give differently, by one.
MOVED_CODES = {8: 0.01, 4: 0.001, 2: 0.001, 1: 0.001}


class ParityError(UserError):
    """A back end whose output differs from the reference by more than it may."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How far outputs are from the reference.

    Attributes:
        differences: Largest absolute difference by back end, as a share of the larger of 1 and
            the largest absolute output of the reference.
        limit: What a difference may be.
        num_images: Images that were compared.
    """

    differences: Mapping[str, float]
    limit: float
    num_images: int


def check_parity(
    reference: Array, outputs: Mapping[str, Array], limit: float = LIMIT
) -> ParityReport:
    """Returns how far each of ``outputs`` is from ``reference``; all are (batch, classes).

    Raises:
        ParityError: If one is of another shape, has NaN, or differs by more than ``limit``.
    """
    scale = max(1.0, float(np.abs(reference).max()))
    differences = {}
    for name, output in outputs.items():
        if output.shape != reference.shape:
            raise ParityError(
                f"{name} gives shape {output.shape}, the reference has {reference.shape}"
            )
        difference = float(np.abs(output - reference).max()) / scale
        if not difference <= limit:  # also refuses NaN
            raise ParityError(
                f"{name} differs from the reference by {difference:.2e} of its largest output, "
                f"the limit is {limit:.0e}; the file was not kept"
            )
        differences[name] = difference
    return ParityReport(differences, limit, len(reference))
