"""Answers: what a network says about the images of each class, what that scores, and how sure.

*Source:* of the interval of a share, Wilson, "Probable Inference, the Law of Succession, and
Statistical Inference", JASA 22, 1927, as in `scipy.stats.binomtest(...).proportion_ci("wilson")`
(which takes most of a second to import); of that of a mean of shares, Zou and Donner,
"Construction of confidence limits about effect measures: a general approach", Statistics in
Medicine 27, 2008, https://doi.org/10.1002/sim.3095, section 2, from the Wilson limits of each.

Shape letters: K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import QUALITIES, Metric

CONFIDENCE = 0.95
Z = 1.959963984540054  # the normal quantile at (1 + CONFIDENCE) / 2


@dataclass(frozen=True, slots=True)
class ScoreInterval:
    """Where a score lies with a confidence of 95 %, by how many images it is from."""

    low: float
    high: float

    def holds(self, score: float) -> bool:
        return self.low <= score <= self.high


def wilson(share: float, total: int) -> ScoreInterval:
    """Returns the Wilson interval of a share of ``total`` images.

    >>> found = wilson(0.95, 40)
    >>> round(found.low, 4), round(found.high, 4)
    (0.835, 0.9862)
    """
    weight = Z**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * sqrt(share * (1 - share) / total + weight / (4 * total))
    # Rounding must not put 0 or 1 itself outside.
    return ScoreInterval(max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many images of each class got each answer.

    Attributes:
        cells: ``(class, answer, count)``, sorted, where the count is not zero: of K x K cells few
            are filled where classes are many.
    """

    num_classes: int
    cells: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "Confusion":
        """Returns that of a matrix ``(K, K)``, a row for each class, a column for each answer."""
        filled = zip(*(index.tolist() for index in np.nonzero(counts)), strict=True)
        return cls(
            len(counts), tuple((row, column, int(counts[row, column])) for row, column in filled)
        )

    @property
    def matrix(self) -> NDArray[np.int64]:
        """``(K, K)``: a row for each class, a column for each answer."""
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        for row, column, count in self.cells:
            counts[row, column] = count
        return counts

    @property
    def class_sizes(self) -> NDArray[np.int64]:
        """Images of each class, ``(K,)``."""
        return self._sums(0)

    @property
    def answers(self) -> NDArray[np.int64]:
        """How often each class was the answer, ``(K,)``."""
        return self._sums(1)

    @property
    def hits(self) -> NDArray[np.int64]:
        """Images of each class that were answered with it, ``(K,)``."""
        counts = np.zeros(self.num_classes, np.int64)
        for row, column, count in self.cells:
            counts[row] += count * (row == column)
        return counts

    def _sums(self, by: int) -> NDArray[np.int64]:
        counts = np.zeros(self.num_classes, np.int64)
        for cell in self.cells:
            counts[cell[by]] += cell[2]
        return counts

    @property
    def num_images(self) -> int:
        return int(self.class_sizes.sum())

    @property
    def recalls(self) -> NDArray[np.float64]:
        """The share of each class that is answered with it, ``(K,)``; NaN without images of it."""
        sizes = self.class_sizes.astype(np.float64)
        return np.divide(self.hits, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)

    @property
    def accuracy(self) -> float:
        """The share of images that are answered with their class, in float32, as torch has it."""
        return float(np.float32(self.hits.sum()) / np.float32(self.num_images))

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall over the classes that have images."""
        return float(np.nanmean(self.recalls))

    @property
    def macro_f1(self) -> float:
        """The mean F1 over the classes that have images or are an answer.

        F1 is the harmonic mean of recall and of the share of such answers that are right.
        """
        either = (self.class_sizes + self.answers).astype(np.float64)
        return float(np.mean(2 * self.hits[either > 0] / either[either > 0]))

    @property
    def scores(self) -> dict[str, float]:
        """Every metric that training finds out, by its name."""
        return {metric.name: float(getattr(self, metric.name)) for metric in QUALITIES}

    @property
    def only_answer(self) -> int | None:
        """The class that every image is answered with; None where answers differ."""
        given = {answer for _, answer, _ in self.cells}
        return given.pop() if len(given) == 1 else None

    def interval(self, metric: Metric) -> ScoreInterval | None:
        """Returns that of a score; None for macro F1, which is no mean of shares."""
        if metric.name == "accuracy":
            return wilson(self.accuracy, self.num_images)
        if metric.name != "balanced_accuracy":
            return None
        sizes = self.class_sizes
        shares = [(float(r), int(n)) for r, n in zip(self.recalls, sizes, strict=True) if n]
        limits = [(share, wilson(share, n)) for share, n in shares]
        below = sqrt(sum((share - limit.low) ** 2 for share, limit in limits)) / len(limits)
        above = sqrt(sum((limit.high - share) ** 2 for share, limit in limits)) / len(limits)
        middle = self.balanced_accuracy
        return ScoreInterval(max(0.0, middle - below), min(1.0, middle + above))


def confusion_to_json(confusion: Confusion) -> dict[str, Any]:
    """Returns a confusion as JSON-ready data, its cells in one line of text."""
    cells = " ".join(f"{row}:{answer}:{count}" for row, answer, count in confusion.cells)
    return {"num_classes": confusion.num_classes, "class:answer:count": cells}


def confusion_from_json(data: Mapping[str, Any]) -> Confusion:
    """Returns the confusion that ``data`` holds.

    Raises:
        ValueError, KeyError, TypeError: If it is damaged.
    """
    size = int(data["num_classes"])
    rows = [tuple(map(int, cell.split(":"))) for cell in data["class:answer:count"].split()]
    if size < 1 or not rows or not all(is_cell(row, size) for row in rows):
        raise ValueError("its confusion has no cells, or others than class:answer:count")
    return Confusion(size, tuple((row, answer, count) for row, answer, count in rows))


def is_cell(row: Sequence[int], size: int) -> bool:
    return len(row) == 3 and all(0 <= index < size for index in row[:2]) and row[2] > 0
