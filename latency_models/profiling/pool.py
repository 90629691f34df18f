"""Pool: networks drawn from a space, the kernels they are made of, and which to time next."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.kernel_text import to_text
from latency_models.compiler.network_kernels import AnyKernel, network_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.prediction.kernel_rows import KernelRows, rows_of
from latency_models.prediction.onnx_features import describe
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

Doubts = Callable[[KernelRows], NDArray[np.float64]]
CORNER = 4.0  # how much more a kernel is wanted without which its kind's sizes have no bound
MOST_AT_ONCE = 8  # kernels of one network that are compiled together
LOOKED_AT = 40  # networks among which the most wanted one is taken


@dataclass(frozen=True, slots=True)
class Wanted:
    """Kernels to be timed together.

    Attributes:
        graph: A network that has them.
        indices: Their places in `network_kernels` of it.
        texts: Each as text, in the same order.
        kinds: What each is.
    """

    graph: Graph
    indices: tuple[int, ...]
    texts: tuple[str, ...]
    kinds: tuple[str, ...]


class Pool:
    """Networks of a space and their distinct kernels.

    Args:
        draw: Returns a random network of the space.
        size: How many are drawn.

    Attributes:
        counts: How often each kernel occurs in the networks.
        kinds: What each kernel is.
    """

    def __init__(
        self, draw: Callable[[Random], Graph], runtime: Runtime, unit: VectorUnit, rng: Random,
        size: int,
    ) -> None:  # fmt: skip
        self.rng, self.runtime, self.unit = rng, runtime, unit
        self.graphs: list[tuple[Graph, tuple[AnyKernel, ...]]] = []
        self.counts: Counter[AnyKernel] = Counter()
        reason = ""
        for _ in range(size):
            graph = draw(rng)
            try:
                kernels = tuple(use.kernel for use in network_kernels(graph, runtime, unit))
            except UserError as error:
                reason = str(error)
                continue
            self.graphs.append((graph, kernels))
            self.counts.update(kernels)
        if not self.graphs:
            raise UserError(f"no network of the space runs there: {reason}")
        described = [describe(kernel, unit) for kernel in self.counts]
        self.table = rows_of(described)
        self.kinds: Mapping[AnyKernel, str] = {
            kernel: each.kind for kernel, each in zip(self.counts, described, strict=True)
        }
        every = list(self.counts)
        self.corners = frozenset(every[index] for index in corners(self.table))
        self.worth = dict(zip(every, worth(self.counts.values()).tolist(), strict=True))
        self.texts: Mapping[AnyKernel, str] = {k: to_text(k) for k in self.counts}

    def assess(self, doubts: Doubts) -> None:
        """Learns how unsure a model is of each kernel."""
        worths = worth(self.counts.values()) * doubts(self.table)
        self.worth = dict(zip(self.counts, worths.tolist(), strict=True))

    def choose(self, known: Mapping[str, object]) -> Wanted | None:
        """Returns the kernels to time next; None where all of the pool are known.

        A kernel is wanted the more, the more often it occurs, the less is known of its kind, and
        the less sure the model is of it; and more so at the ends of the range of sizes.
        """
        timed = Counter(self.kinds[k] for k, text in self.texts.items() if text in known)

        def wish(kernel: AnyKernel) -> float:
            if self.texts[kernel] in known:
                return 0.0
            if kernel in self.corners:
                return CORNER * self.worth[kernel]
            return self.worth[kernel] / (1 + timed[self.kinds[kernel]])

        best, best_wish = None, 0.0
        for index in self.looked_at(known):
            graph, kernels = self.graphs[index]
            first = {kernel: place for place, kernel in reversed(list(enumerate(kernels)))}
            ranked = sorted(first, key=wish, reverse=True)[:MOST_AT_ONCE]
            total = sum(wish(kernel) for kernel in ranked)
            if total > best_wish:
                chosen = [kernel for kernel in ranked if wish(kernel) > 0]
                best_wish, best = total, (graph, [(first[k], k) for k in chosen])
        if best is None:
            return None
        graph, places = best
        return Wanted(
            graph,
            tuple(place for place, _ in places),
            tuple(self.texts[kernel] for _, kernel in places),
            tuple(self.kinds[kernel] for _, kernel in places),
        )

    def looked_at(self, known: Mapping[str, object]) -> Sequence[int]:
        """Some networks at random, or those that have kernels left, where these have none."""
        every = range(len(self.graphs))
        some = self.rng.sample(every, min(LOOKED_AT, len(every)))
        if any(self.is_left(index, known) for index in some):
            return some
        return [index for index in every if self.is_left(index, known)][:LOOKED_AT]

    def is_left(self, index: int, known: Mapping[str, object]) -> bool:
        return any(self.texts[kernel] not in known for kernel in self.graphs[index][1])

    def runs(self, graph: Graph) -> bool:
        """Whether the runtime has a kernel for every node."""
        try:
            network_kernels(graph, self.runtime, self.unit)
        except UserError:
            return False
        return True

    def count_left(self, known: Mapping[str, object]) -> int:
        """How many kernels of the pool nobody has timed."""
        return sum(text not in known for text in self.texts.values())


def worth(counts: Iterable[int]) -> NDArray[np.float64]:
    """Returns what it is worth to time kernels that occur so often, (S,)."""
    return np.sqrt(np.fromiter(counts, np.float64))


def corners(table: KernelRows) -> NDArray[np.intp]:
    """Returns the kernels that have the least or largest size of their kind, in any measure."""
    found: set[int] = set()
    for kind in np.unique(table.kinds):
        own = np.flatnonzero(table.kinds == kind)
        sizes = table.sizes[own]
        ends = {*sizes.argmin(0).tolist(), *sizes.argmax(0).tolist()}
        found |= {int(own[end]) for end in ends}
    return np.array(sorted(found))
