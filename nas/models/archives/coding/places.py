"""Places: where the weights of an array are that are not zero, coded step by step.

*Source:* DeepCABAC (Wiedemann et al., 2019, https://arxiv.org/abs/1905.08318) adapts to the weight
before; here it is rows, columns and kernels, which in pruned networks are of unlike density.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.adaptive import AT_ONCE, SymbolCoder, bits_model, code_bits
from nas.models.archives.coding.classes import (
    CLASS_SHIFT,
    NUM_CLASSES,
    Bits,
    LearntClasses,
    Odds,
    weighted,
)
from nas.models.archives.coding.kernel_places import KernelScan
from nas.models.archives.coding.linear_places import SET_BITS, FoursStep, LinearScan

Shape = tuple[int, ...]
Weights = NDArray[np.int16]


def num_features(shape: Shape) -> int:
    return 4 if has_kernels(shape) else 2


def has_kernels(shape: Shape) -> bool:
    """Whether an array is that of a convolution of more than one tap."""
    return len(shape) > 2 and prod(shape[2:]) > 1


def rows_of(shape: Shape) -> tuple[int, int]:
    """Returns how many rows and columns an array has, as it is coded.

    >>> rows_of((8, 3, 5, 5)), rows_of((10, 84)), rows_of((7,)), rows_of(())
    ((8, 75), (10, 84), (1, 7), (1, 1))
    """
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))


def with_taps(known: Bits, shape: Shape) -> Bits:
    """Returns an array (O, I, ...) as (O, K, I)."""
    return np.ascontiguousarray(known.reshape(shape[0], shape[1], -1).transpose(0, 2, 1))


def code_places(
    coder: SymbolCoder, shape: Shape, count: int, weights: Weights, known: Bits | None
) -> Bits:
    """Returns which weights of an array are set (rows, columns); a writer is given them."""
    if has_kernels(shape):
        return code_kernels(coder, shape, count, weights, known)
    return code_linear(coder, shape, count, weights, known)


def code_linear(
    coder: SymbolCoder, shape: Shape, count: int, weights: Weights, known: Bits | None
) -> Bits:
    scan, learnt = LinearScan(rows_of(shape), count), LearntClasses()
    for step in scan.steps():
        order, sizes = rising_order(scan.odds, step, weights)
        given = None if known is None else scan.symbols(step, known)
        scan.learn(step, code_classes(coder, learnt, order, sizes, step.width, given))
    return scan.map


def code_kernels(
    coder: SymbolCoder, shape: Shape, count: int, weights: Weights, known: Bits | None
) -> Bits:
    given = None if known is None else with_taps(known, shape)
    scan, learnt = KernelScan((shape[0], prod(shape[2:]), shape[1]), count), LearntClasses()
    for step in scan.steps():
        place = scan.map[step.rows, step.taps]
        classes = np.broadcast_to(scan.odds.classes(step.features, weights), place.shape)
        order, sizes = class_order(classes.reshape(-1))
        bits = None if given is None else given[step.rows, step.taps].reshape(-1)
        scan.learn(step, code_classes(coder, learnt, order, sizes, 1, bits))
    return scan.map.transpose(0, 2, 1).reshape(rows_of(shape))


def class_order(classes: Bits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns places by rising class, those of a class in their order, and how many each has."""
    order = np.argsort(classes, kind="stable")  # of bytes numpy sorts by counting
    return order, np.bincount(classes, minlength=NUM_CLASSES)


def rising_order(
    odds: Odds, step: FoursStep, weights: Weights
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns what ``class_order`` does, for columns that rise: no weight is looked at.

    In each row, those of a class are neighbours, from one limit to the next.
    """
    by_column = weighted(step.features[0], weights[0])
    by_row = weighted(step.features[1], weights[1]).reshape(-1) + odds.base
    rows, columns = step.shape
    lowest = np.arange(1, NUM_CLASSES, dtype=np.int32) - NUM_CLASSES // 2 << CLASS_SHIFT
    ends = np.searchsorted(by_column, lowest[:, None] - by_row.astype(np.int32))
    ends = np.broadcast_to(ends, (NUM_CLASSES - 1, rows))
    limits = np.concatenate([np.zeros((1, rows), int), ends, np.full((1, rows), columns)])
    sizes = np.diff(limits, axis=0)
    starts = limits[:-1] + np.arange(rows) * columns
    flat = sizes.reshape(-1)
    shifts = starts.reshape(-1) - (np.cumsum(flat) - flat)
    return np.repeat(shifts, flat) + np.arange(rows * columns), sizes.sum(1)


def code_classes(
    coder: SymbolCoder,
    learnt: LearntClasses,
    order: NDArray[np.int64],
    sizes: NDArray[np.int64],
    width: int,
    known: Bits | None,
) -> Bits:
    """Returns the symbols of a step, class by class, each with the chance that it has learnt.

    Args:
        width: Bits of a symbol: four, or one; single bits of a class are coded four at a time.
    """
    given = None if known is None else known[order]
    found, at, present = np.empty(len(order), np.uint8), 0, np.flatnonzero(sizes)
    for index in present.tolist():
        end = at + int(sizes[index])
        chance, symbols = learnt.chance(index), None if given is None else given[at:end]
        if width == 1:
            found[at:end] = code_bits(coder, chance, end - at, symbols)
        else:
            whole = None if symbols is None else symbols.astype(np.int32)
            found[at:end] = coder.code(bits_model(chance, AT_ONCE), end - at, whole)
        at = end
    set_bits = found if width == 1 else np.take(SET_BITS, found)
    counts = sizes[present]
    ones = np.add.reduceat(set_bits, np.cumsum(counts) - counts, dtype=np.int64)
    for index, each, count in zip(present.tolist(), ones.tolist(), counts.tolist(), strict=True):
        learnt.learn(index, each, width * count)
    symbols = np.empty_like(found)
    symbols[order] = found
    return symbols
