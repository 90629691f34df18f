"""Layer curves: what is left of accuracy when one layer alone is changed by ever more.

*Source:* Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NIPS
2015, https://arxiv.org/abs/1506.02626, section 4.1 and figure 6: the sensitivity of each layer to
pruning, by which thresholds are found.

How much of each layer may go for a stated drop is found here by one tolerance for all: each layer
takes as much as costs no more than that alone, the largest tolerance is taken that holds for all
layers together, and then each layer, the largest first, goes on while it holds.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.graphs.model import Model

Amounts = Mapping[str, float]  # by layer; one that is left out stays as it is
Change = Callable[[Amounts], Model]
Worth = Callable[[Model], float]


@dataclass(frozen=True, slots=True)
class LayerCurve:
    """Accuracy over what is done to one layer.

    Attributes:
        what: What the amounts are, in words.
        amounts: The mildest first.
        accuracies: With this layer alone changed, in 0..1.
    """

    layer: str
    what: str
    amounts: tuple[float, ...]
    accuracies: tuple[float, ...]

    def within(self, least: float) -> int:
        """Returns how many of the amounts, from the mildest on, keep at least that accuracy."""
        failed = (index for index, found in enumerate(self.accuracies) if found < least)
        return next(failed, len(self.amounts))


def layer_curves(
    names: Sequence[str], what: str, amounts: Sequence[float], change: Change, worth: Worth
) -> tuple[LayerCurve, ...]:
    """Returns the curve of each layer, in the order of the names.

    Args:
        amounts: The mildest first.
    """
    return tuple(
        LayerCurve(
            name,
            what,
            tuple(amounts),
            tuple(worth(change({name: amount})) for amount in amounts),
        )
        for name in names
    )


def largest_within(
    curves: Sequence[LayerCurve], change: Change, worth: Worth, least: float
) -> tuple[Amounts, Model]:
    """Returns the amounts that keep at least an accuracy together, and what they make.

    None of the layers could be changed by one amount more and keep it.

    Args:
        curves: The layer of which a further amount is worth most first.
    """
    # Every accuracy on a curve is a tolerance that may change what is chosen; high ones are mild.
    levels = sorted({found for curve in curves for found in curve.accuracies})

    def holds(level: int) -> bool:
        return worth(change(chosen(curves, counts_at(curves, levels[level])))) >= least

    first = bisect_right(range(len(levels)), False, key=holds)
    counts = counts_at(curves, levels[first]) if first < len(levels) else [0] * len(curves)
    made = change(chosen(curves, counts))
    for index, curve in enumerate(curves):
        while counts[index] < len(curve.amounts):
            more = [count + (place == index) for place, count in enumerate(counts)]
            further = change(chosen(curves, more))
            if worth(further) < least:
                break
            counts, made = more, further
    return chosen(curves, counts), made


def counts_at(curves: Sequence[LayerCurve], level: float) -> list[int]:
    return [curve.within(level) for curve in curves]


def chosen(curves: Sequence[LayerCurve], counts: Sequence[int]) -> Amounts:
    """Returns the amount of each layer that is changed at all."""
    pairs = zip(curves, counts, strict=True)
    return {curve.layer: curve.amounts[count - 1] for curve, count in pairs if count}
