"""Fitting: how much each feature of the places of an array says, as the writer finds it.

A logistic regression on some of the array's weights, by Newton's method; the reader gets its few
numbers, and never fits anything.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.classes import MOST_WEIGHT, ROUND_SHIFT, Bits, Logits
from nas.models.archives.coding.kernel_places import KernelScan
from nas.models.archives.coding.linear_places import SET_BITS, LinearScan
from nas.models.archives.coding.places import (
    Shape,
    Weights,
    has_kernels,
    num_features,
    rows_of,
    with_taps,
)

MOST_EXAMPLES = 1 << 17
STEPS_OF_NEWTON = 8
PULL = 4.0  # towards a weight of one, in examples
MOST_EXPONENT = 30.0

Numbers = NDArray[np.float64]


class PlaceExamples:
    """Some of the weights of an array: their features, and how many of how many are set."""

    def __init__(self, count: int, size: int) -> None:
        self.each = -(-size // MOST_EXAMPLES)
        self.base = np.log(count / (size - count))
        self.features: list[NDArray[np.int16]] = []
        self.ones: list[Bits] = []

    def add(self, features: tuple[Logits, ...], ones: Bits) -> None:
        """Takes some of what features tell of, of which so many are set."""
        rows = [np.broadcast_to(one, ones.shape).reshape(-1)[:: self.each] for one in features]
        self.features.append(np.stack(rows))
        self.ones.append(ones.reshape(-1)[:: self.each])

    def weights(self, each: int) -> Numbers:
        """Returns what features weigh, where an example is of ``each`` weights."""
        unit = np.log(2) / (1 << ROUND_SHIFT)  # a sixteenth of a bit as a natural logarithm
        rows = np.concatenate(self.features, 1).T * unit
        ones, most = np.concatenate(self.ones), MOST_WEIGHT / (1 << ROUND_SHIFT)
        weights, pull = np.ones(rows.shape[1]), PULL * np.eye(rows.shape[1])
        for _ in range(STEPS_OF_NEWTON):
            logits = np.clip(self.base + rows @ weights, -MOST_EXPONENT, MOST_EXPONENT)
            chances = 1 / (1 + np.exp(-logits))
            slope = rows.T @ (ones - each * chances) - PULL * (weights - 1)
            curve = (rows * (each * chances * (1 - chances))[:, None]).T @ rows + pull
            weights = np.clip(weights + np.linalg.solve(curve, slope), 0, most)
        return weights


def fitted_weights(known: Bits, shape: Shape, count: int) -> Weights:
    """Returns the weight of each feature, in sixteenths, for what is set (rows, columns)."""
    examples, each = PlaceExamples(count, known.size), 1
    if has_kernels(shape):
        taps = with_taps(known, shape)
        kernels = KernelScan((shape[0], prod(shape[2:]), shape[1]), count)
        for step in kernels.steps():
            bits = taps[step.rows, step.taps]
            if step.taps.start:  # before, nothing is known of rows and kernels
                examples.add(step.features, bits)
            kernels.learn(step, bits)
    else:
        scan, each = LinearScan(rows_of(shape), count), 4
        for fours in scan.steps():
            symbols = scan.symbols(fours, known)
            if fours.width == each and fours.features[1].size > 1:
                examples.add(fours.features, np.take(SET_BITS, symbols).reshape(fours.shape))
            scan.learn(fours, symbols)
    weights = examples.weights(each) if examples.ones else np.ones(num_features(shape))
    return np.rint(weights * (1 << ROUND_SHIFT)).astype(np.int16)
