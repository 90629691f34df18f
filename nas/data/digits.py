"""Digits: 1,797 real handwritten digits that come with scikit-learn; needs no download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998, as
``sklearn.datasets.load_digits`` has it.
"""

from dataclasses import dataclass

import numpy as np

from nas.data.images import ImageData


@dataclass(frozen=True, slots=True)
class Digits:
    """8x8 grey images of the ten digits; the 17 grey levels are spread over 0..255."""

    def load(self) -> tuple[ImageData, None]:
        from sklearn.datasets import load_digits  # takes two seconds to import

        bunch = load_digits()
        pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        names = tuple(str(name) for name in bunch.target_names)
        return ImageData("digits", pixels, bunch.target.astype(np.int64), names), None
