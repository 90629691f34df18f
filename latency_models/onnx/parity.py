"""Parity: whether a file computes what the trained network computed.

Real networks agree to the last digits: every image within ``LIMIT``.

Networks with codes cannot: a number within a rounding error of the border between two codes gets
either, and from there on maps differ by whole steps. What is right then is stated for codes, and
how far outputs move by that is measured on the network itself: the caller runs it as trained with
so many codes moved (``nas.export.tolerance``), and a file may move no further.

* Rounding moves few codes, one in a million as a rule, so that most images agree: the difference
  of the median image is bounded by runs with ``FEW`` codes moved by one. An error in a kernel
  moves all images, and is found by that.
* The worst image is bounded by runs with ``MANY`` codes moved: the most that is right.
* Files with integer biases (ONNX, convolutions of 8 bits) shift each sum by up to half a unit, a
  small part of the next quantizer's step; ``ROUNDED_BIASES`` is the largest in which they are
  written, in the mean over channels. Runs for such files have each channel of 8-bit maps shifted
  by twice that.
* Both bounds are ``SLACK`` times what the runs show: where a network spreads small differences
  over all of its codes, files and runs come to differ alike.
* Where images are classified, 0.1 point of accuracy may differ, and at least one image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array

LIMIT = 1e-4
FEW, MANY = 1e-5, 1e-3  # shares of a map's codes
ROUNDED_BIASES = 0.01  # of a step; as large is the share of codes that they move
SLACK = 2
CHANGED_ANSWERS = Fraction(1, 1000)  # of the images


class ParityError(UserError):
    """A back end whose output differs from the reference by more than it may."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What images may differ by, as a share of the largest output.

    Attributes:
        typical: The median image.
        largest: Any image.
    """

    typical: float
    largest: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How far outputs are from the reference.

    Attributes:
        differences: Largest absolute difference by back end, as a share of the larger of 1 and
            the largest absolute output of the reference.
        limit: What a difference may be, in the back end that may differ most.
        num_images: Images that were compared.
    """

    differences: Mapping[str, float]
    limit: float
    num_images: int


def check_parity(
    reference: Array, outputs: Mapping[str, Array], bounds: Mapping[str, Bounds] | None = None
) -> ParityReport:
    """Returns how far each of ``outputs`` is from ``reference``; all are (batch, classes).

    Args:
        bounds: Of outputs of networks with codes; others are bounded by ``LIMIT``.

    Raises:
        ParityError: If one is of another shape, has NaN, or differs by more than it may.
    """
    differences, limits = {}, []
    for name, output in outputs.items():
        if output.shape != reference.shape:
            raise ParityError(
                f"{name} gives shape {output.shape}, the reference has {reference.shape}"
            )
        allowed = (bounds or {}).get(name, Bounds(LIMIT, LIMIT))
        found = per_image(reference, output)
        differences[name] = largest = float(found.max())
        limits.append(allowed.largest)
        check_difference(name, "", largest, allowed.largest)
        typical = float(np.median(found))
        check_difference(name, " for the median image", typical, allowed.typical)
    return ParityReport(differences, max(limits, default=LIMIT), len(reference))


def bounds_of(reference: Array, few: Sequence[Array], many: Sequence[Array]) -> Bounds:
    """Returns what a file may differ by from ``reference``.

    Args:
        few: Outputs of runs of the reference with few codes moved.
        many: The same with many.
    """
    typical = max(float(np.median(per_image(reference, output))) for output in few)
    largest = max(float(per_image(reference, output).max()) for output in many)
    return Bounds(max(LIMIT, SLACK * typical), max(LIMIT, SLACK * largest))


def per_image(reference: Array, output: Array) -> NDArray[np.float64]:
    """Returns the largest difference of each image, as a share of the largest output."""
    scale = max(1.0, float(np.abs(reference).max()))
    difference = np.abs(output - reference).astype(np.float64)
    found: NDArray[np.float64] = difference.reshape(len(reference), -1).max(1) / scale
    return found


def check_difference(name: str, where: str, difference: float, limit: float) -> None:
    if not difference <= limit:  # also refuses NaN
        raise ParityError(
            f"{name} differs from the reference by {difference:.2e} of its largest output{where}, "
            f"the limit is {limit:.0e}; the file was not kept"
        )


def changed_answers(num_images: int, has_codes: bool) -> int:
    """Returns by how many right answers a file may part from the network as trained."""
    return max(1, int(num_images * CHANGED_ANSWERS)) if has_codes else 0
