"""Digits: 1,797 real handwritten digits that come with scikit-learn; needs no download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, as
``sklearn.datasets.load_digits`` has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nas.data.images import Labels, Pixels
from nas.data.sources.decode import Size
from nas.data.sources.listing import Listing

CLASSES = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Digits:
    """8x8 grey images of the ten digits; the 17 grey levels are spread over 0..255."""

    def listing(self, fallback: Size | None = None) -> Listing:
        return Listing("digits", 1, CLASSES, labels, DigitPixels())


@dataclass(frozen=True, slots=True)
class DigitPixels:
    """The pixels of the digits."""

    @property
    def identity(self) -> tuple[object, ...]:
        return ("digits",)

    def forms(self) -> tuple["DigitPixels", ...]:
        return (self,)

    def settled(self) -> "DigitPixels":
        return self

    def shape(self) -> tuple[int, int, int, int]:
        return (1797, 8, 8, 1)

    def decode(self, out: Pixels, /) -> tuple[str, ...]:
        out[...] = np.rint(bunch().images * (255 / 16))[..., None]
        return ()


def labels() -> Mapping[str, Labels]:
    return {"train": bunch().target.astype(np.int64)}


@cache
def bunch() -> Any:  # noqa: ANN401  (scikit-learn has no types)
    from sklearn.datasets import load_digits  # takes two seconds to import

    return load_digits()
