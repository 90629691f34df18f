"""Dominated genes: precisions that cost latency and save no bytes on the run's device.

A layer at fewer bits is usually smaller, and often faster. Where it is neither (a narrow layer
whose quantizers weigh more than its weights, on a device that lacks the instructions), a higher
precision is at least as good in everything, and takes its place before anything is trained.

The sampler inside decides a whole architecture; what takes its place is what the trial is told to
be, so its parameters, its hash and what the sampler learns are of the network really evaluated.
Queued trials (baselines, and those that an interrupted search left) are taken as they are.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from latency_models.devices.device import get_device
from latency_models.devices.latency import MeasurementError
from nas.evaluation.instruments import needs_latency
from nas.evaluation.kernel_table import KernelTable
from nas.problem.records import RunConfig
from nas.search.proposals.planning import OuterSampler
from search_spaces.building.choice import Choice, Value
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import PRECISIONS, Precision
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, record, restore
from search_spaces.space.staged import StagedSpace

NOISE = 0.03  # share by which equal kernels differ from one timing to the next
GENE = "precision"  # the last part of the names of genes that choose one
log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Replacement:
    """One gene that was given a higher precision.

    Attributes:
        saved_ms: What the kernels that differ take less.
        saved_bytes: What the weights take less; not negative.
    """

    gene: str
    before: str
    after: str
    saved_ms: float
    saved_bytes: int

    def __str__(self) -> str:
        size = f"{self.saved_bytes} bytes larger" if self.saved_bytes else "of its size"
        return (
            f"{self.gene} = {self.before} is {1e3 * self.saved_ms:.3g} us slower than "
            f"{self.after} and {size}; taken as {self.after}"
        )


class UselessGenes:
    """Replaces useless precisions by what is measured; a network without times stays as it is."""

    def __init__(self, space: SearchSpace, table: KernelTable) -> None:
        self.space = space
        self.table = table
        self._untimed: set[str] = set()

    def replaced(self, architecture: Architecture) -> tuple[Architecture, tuple[Replacement, ...]]:
        """Returns the architecture without useless precisions, and what was replaced.

        Genes are looked at in their order, each beside the ones already replaced. Of several
        better precisions the fastest is taken.
        """
        replacements: list[Replacement] = []
        for choice in precision_choices(self.space, architecture):
            while better := self.best(architecture, choice):
                replacements.append(better)
                genes = dict(architecture.genes) | {choice.name: better.after}
                architecture = restore(self.space, genes)
        return architecture, tuple(replacements)

    def best(self, architecture: Architecture, choice: Choice) -> Replacement | None:
        """Returns what saves the most time of one gene, the highest of equals, if any does."""
        candidates = [
            replacement
            for value in higher_values(dict(architecture.genes)[choice.name], choice)
            if (replacement := self.compared(architecture, choice.name, value)) is not None
        ]
        return max(candidates, key=lambda r: (r.saved_ms, bits(r.after)), default=None)

    def compared(self, architecture: Architecture, gene: str, value: str) -> Replacement | None:
        """Returns the replacement of a gene by ``value`` if the gene is useless beside it."""
        genes = dict(architecture.genes)
        graph = architecture.graph
        try:
            other = restore(self.space, genes | {gene: value}).graph
        except ValueError:  # it makes no network with the other genes
            return None
        saved_bytes = network_cost(graph).weight_bytes - network_cost(other).weight_bytes
        if saved_bytes < 0 or graph_hash(graph) == graph_hash(other):
            return None
        saved_ms = self.saved_ms(graph, other)
        if saved_ms is None:
            return None
        return Replacement(gene, str(genes[gene]), value, saved_ms, saved_bytes)

    def saved_ms(self, graph: Graph, other: Graph) -> float | None:
        """Returns how much faster ``other`` is; None where it is not, or cannot be timed.

        What looks slower is timed again, in case the machine was disturbed.
        """
        if {graph_hash(graph), graph_hash(other)} & self._untimed:
            return None
        timed = graph
        try:
            self.table.kernels(graph)
            timed = other
            if self.beyond_noise(graph, other) is None:
                return None
            self.table.confirm(graph, other)
        except (MeasurementError, UnsupportedOperatorError) as error:
            self._untimed.add(graph_hash(timed))
            log.warning("no precision of %s is compared: %s", graph_hash(timed), error)
            return None
        return self.beyond_noise(graph, other)

    def beyond_noise(self, graph: Graph, other: Graph) -> float | None:
        ours, theirs = self.table.differing_ms(graph, other)
        return ours - theirs if ours > (1 + NOISE) * theirs else None


def why_not(config: RunConfig) -> str:
    """Returns why a search looks for no useless precision; "" where it does."""
    latency = config.latency
    if not offers_precisions(config.space):
        return "no place of the space has a choice of precisions"
    if not config.search.avoid_useless:
        return "search.avoid_useless is off"
    if not needs_latency(config):
        return "latency_ms is no objective and in no constraint, so no kernel is timed"
    if latency.source == "predicted":
        return "latency.source is predicted, so nothing is timed"
    if (latency.runtime or get_device(latency.device).runtime) != "tvm":
        return "only runtime 'tvm' tells the times of kernels"
    return ""


def offers_precisions(space: StagedSpace) -> bool:
    """Whether some place of the space has a choice of precisions."""
    stages = [stage.precisions for stage in space.stages]
    return any(len(v) > 1 for v in (space.stem.precisions, *stages, space.head.precisions))


def precision_choices(space: SearchSpace, architecture: Architecture) -> tuple[Choice, ...]:
    """Returns the choices of precision that led to an architecture, in order."""
    genes = dict(architecture.genes)
    asked = record(space, lambda choice: genes[choice.name]).choices
    return tuple(choice for choice in asked if choice.name.rpartition(".")[2] == GENE)


def higher_values(value: Value, choice: Choice) -> Iterator[str]:
    """Yields the values of a choice of precision that are higher than ``value``."""
    for other in choice.values:
        if is_higher(PRECISIONS[str(other)], PRECISIONS[str(value)]):
            yield str(other)


def is_higher(precision: Precision, than: Precision) -> bool:
    """Whether one precision keeps more than another of weights, maps or both, and less of none.

    >>> is_higher(PRECISIONS["w8a8"], PRECISIONS["w4a8"])
    True
    >>> is_higher(PRECISIONS["w8a8"], PRECISIONS["bwn"])
    False
    """
    mine, others = ((p.weight_bits, p.activation_bits, p.magnitude_map) for p in (precision, than))
    return mine != others and all(a >= b for a, b in zip(mine, others, strict=True))


def bits(name: str) -> int:
    return PRECISIONS[name].weight_bits + PRECISIONS[name].activation_bits


class ReplacingSampler(OuterSampler):
    """Asks ``inner`` for an architecture and answers with what replaces it.

    Attributes:
        replacements: What was replaced in the trial asked last, by its number.
    """

    def __init__(self, inner: BaseSampler, space: SearchSpace, useless: UselessGenes) -> None:
        super().__init__(inner, space)
        self.useless = useless
        self.replacements: dict[int, tuple[Replacement, ...]] = {}

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        planned, replacements = self.useless.replaced(self.proposed(study, trial))
        self.replacements = {trial.number: replacements}
        return planned
