"""Observers: the step that codes numbers best, by four measures of "best".

Source: KL divergence: Migacz, "8-bit Inference with TensorRT", GTC 2017,
https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf;
squared error: Banner et al., "Post-training 4-bit quantization of convolutional networks",
NeurIPS 2019, https://arxiv.org/abs/1810.05723 (minimised on the numbers themselves, not on a
distribution fitted to them).
Differs from the source: numbers that are exactly zero, half of a map after ReLU, are left out of
the divergence, since every step codes them exactly; bins are grouped as codes round.

Numbers come as rows that each get a step of their own, ``(R, N)``; steps as ``(R,)`` float64, 0
where a row is all zeros or has no numbers on the side that is coded.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]
Steps = NDArray[np.float64]
Observer = Callable[[Numbers, int, int], Steps]

SHARE = 0.9999  # of the numbers that the percentile keeps
CANDIDATES = 64  # steps that are tried between the largest number's and a hundredth of it
SMALLEST = 0.01
REFINEMENTS = 20
BINS = 2048


def min_max(numbers: Numbers, lowest: int, highest: int) -> Steps:
    """Returns the least step that clips no number."""
    return covering(numbers.min(1), numbers.max(1), lowest, highest)


def percentile(numbers: Numbers, lowest: int, highest: int, share: float = SHARE) -> Steps:
    """Returns the least step that clips none but the outermost of the numbers on either side.

    Args:
        share: Of the numbers, those below the upper end, and those above the lower one.
    """
    below, above = np.quantile(numbers, (1 - share, share), axis=1)
    return covering(below, above, lowest, highest)


def covering(least: Numbers, largest: Numbers, lowest: int, highest: int) -> Steps:
    steps = np.maximum(largest.astype(np.float64), 0) / highest
    if lowest < 0:
        steps = np.maximum(steps, least.astype(np.float64) / lowest)
    return steps


def l2(numbers: Numbers, lowest: int, highest: int) -> Steps:
    """Returns the step of least squared error between numbers and what their codes stand for.

    The best of a grid is refined: with codes fixed, ``sum(x * code) / sum(code ** 2)`` is optimal.
    """
    numbers = numbers.astype(np.float32, copy=False)
    largest = min_max(numbers, lowest, highest)
    best, least = largest, squared_error(numbers, largest, lowest, highest)
    for ratio in np.geomspace(1, SMALLEST, CANDIDATES)[1:]:
        steps = largest * ratio
        error = squared_error(numbers, steps, lowest, highest)
        best, least = np.where(error < least, steps, best), np.minimum(error, least)
    for _ in range(REFINEMENTS):
        codes = coded(numbers, best, lowest, highest)
        squares = np.square(codes).sum(1, dtype=np.float64)
        products = np.multiply(numbers, codes).sum(1, dtype=np.float64)
        refined = np.divide(products, squares, out=best.copy(), where=squares > 0)
        error = squared_error(numbers, refined, lowest, highest)
        if not (better := error < least).any():
            break
        best, least = np.where(better, refined, best), np.minimum(error, least)
    return best


def coded(numbers: Numbers, steps: Steps, lowest: int, highest: int) -> Numbers:
    divisors = np.where(steps > 0, steps, 1).astype(np.float32)
    codes = np.divide(numbers, divisors[:, None])
    return np.clip(np.rint(codes, out=codes), lowest, highest, out=codes)


def squared_error(numbers: Numbers, steps: Steps, lowest: int, highest: int) -> Steps:
    errors = coded(numbers, steps, lowest, highest)
    errors *= steps.astype(np.float32)[:, None]
    errors -= numbers
    return np.square(errors, out=errors).sum(1, dtype=np.float64)


def kl(numbers: Numbers, lowest: int, highest: int) -> Steps:
    """Returns the step whose codes keep the distribution of magnitudes best.

    For each range that could be kept, the divergence of what the codes make of the histogram
    (each code's mass spread over its bins) from the histogram with all that is clipped in its last
    bin. It takes thousands of numbers to tell a distribution.
    """
    return np.array([kl_row(row, lowest, highest) for row in numbers])


def kl_row(numbers: Numbers, lowest: int, highest: int) -> float:
    magnitudes = np.abs(numbers) if lowest < 0 else np.maximum(numbers, 0)
    magnitudes = magnitudes[magnitudes > 0].astype(np.float64)
    if not magnitudes.size:
        return 0.0
    largest = magnitudes.max()
    counts = np.histogram(magnitudes, BINS, (0, largest))[0].astype(np.float64)
    centres = (np.arange(BINS) + 0.5) / BINS
    least = max(highest + 1, int(SMALLEST * BINS))
    kept = np.unique(np.geomspace(min(least, BINS), BINS, 2 * CANDIDATES).round().astype(int))
    losses = [divergence(counts, centres, bins, highest) for bins in kept]
    return float(kept[int(np.argmin(losses))] / BINS * largest / highest)


def divergence(counts: NDArray[np.float64], centres: Steps, bins: int, highest: int) -> float:
    """Returns the divergence where ``bins`` of the histogram are kept."""
    inside = counts[:bins]
    reference = inside.copy()
    reference[-1] += counts[bins:].sum()
    codes = np.minimum(np.rint(centres[:bins] / (bins / BINS) * highest), highest).astype(int)
    occupied = inside > 0
    mass = np.bincount(codes, inside, highest + 1)
    members = np.bincount(codes, occupied, highest + 1)
    spread = np.where(occupied, (mass / np.maximum(members, 1))[codes], 0)
    if not spread.sum():
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())


OBSERVERS: dict[str, Observer] = {
    "min_max": min_max,
    "percentile": percentile,
    "kl": kl,
    "l2": l2,
}
