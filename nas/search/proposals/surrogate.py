"""Surrogate: an Optuna sampler that learns from all trials which architectures to try next.

Random architectures come first. Then thousands of children of the front are bred as genes, judged
by regressions on all trials, and of those that are expected to add most hypervolume, times their
chance of keeping every constraint, the space makes networks. Costs that a graph tells are exact.

Source: Emmerich et al., IEEE TEVC 2006, https://doi.org/10.1109/TEVC.2005.859463 (expected
hypervolume improvement); Ginsbourger, Le Riche, Carraro, "Kriging is well-suited to parallelize
optimization", 2010 (what is under way is believed to be as expected).
Differs from the papers: candidates are bred with the space's own moves, whose genes may depend on
each other, and none is proposed twice.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.evaluation.free_rules import graph_values
from nas.problem.metrics import Metric
from nas.runs.findings.earlier_run import EarlierRun
from nas.search.proposals.evolution import ArchiveEvolutionSampler, best_trials, violation
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.beliefs import Beliefs, Known, as_loss, learn, losses_of
from nas.search.proposals.learning.first_tries import FirstTries
from nas.search.proposals.learning.gene_codes import Codes, GeneCodes
from nas.search.proposals.learning.greedy import greedy
from nas.search.proposals.left_over import passes
from nas.search.proposals.planning import PlanningSampler
from nas.study.names import HASH
from nas.study.study import proposed
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, complete, restore

BATCH = 5  # architectures that are planned together
SHARE = 8  # with so many under way, a batch is an eighth of them
BRED = 2000  # children of the front, of which the best are made networks
MOST_NUMBERS = 4_000_000  # that these are written in; fewer are bred of very long genes
MOST_PAIRS = 1_200_000  # of these and trials; fewer are bred where many trials are known
MADE = 3  # networks that are made for each that is proposed
SPARE = 3  # that are planned further, in case others propose the same
PROBES = 6  # trials by which it is seen whether what graphs tell is what trials were told
SAME = 1e-6  # share by which the two may differ

Array = NDArray[np.float64]
log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """What was planned together, for the trials from `start` up to `end`."""

    start: int
    end: int
    architectures: tuple[Architecture, ...]


class SurrogateSampler(PlanningSampler):
    """Plans each trial's architecture by what all trials before it teach.

    A batch depends on the seed and the trials before it, so with one worker an interrupted search
    goes on as if it had not been interrupted. Whatever cannot be learned from, or brings nothing
    new, is left to evolution.

    Args:
        initial: Random architectures before learning starts (baselines count).
        gate: What every proposal must pass.
        known: What a graph alone tells of metrics, by name.
        reference: Worst value of interest by metric; see `corner_of` for what is not named.
        earlier: What other runs found, to learn from as well.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: Sequence[Metric],
        *,
        seed: int,
        initial: int = 20,
        gate: Gate | None = None,
        known: Known = graph_values,
        reference: Mapping[str, float] | None = None,
        earlier: Sequence[EarlierRun] = (),
    ) -> None:
        super().__init__()
        self.space = space
        self.metrics = tuple(metrics)
        self.seed = seed
        self.initial = initial
        self.gate = gate or Gate()
        self.known = known
        self.reference = reference or {}
        self.evolution = ArchiveEvolutionSampler(
            space, metrics, seed=seed, initial=initial, gate=self.gate
        )
        self.first_tries = FirstTries(space, self.metrics, earlier, self.allowed, seed)
        self._batch: PlannedBatch | None = None

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be.

        Raises:
            NothingToProposeError: If nothing is left to propose, or nothing was found.
        """
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
        seen = proposed(study)
        before = [t for t in trials if t.number < trial.number]
        first = self.first_tries.due(len(before), self.initial)
        for architecture in first or self.planned(before):
            if graph_hash(architecture.graph) not in seen:
                return architecture
        return self.evolution.plan(study, trial)

    def allowed(self, make: Callable[[], Architecture]) -> Architecture | None:
        """Returns what is drawn, where the gate lets it through."""
        drawn = self.gate.draw(make)
        return drawn.architecture if drawn is not None and drawn.excess <= 0 else None

    def planned(self, before: Sequence[FrozenTrial]) -> tuple[Architecture, ...]:
        """Returns the batch that the trial after these belongs to."""
        batch, count = self._batch, len(before)
        if batch is None or not batch.start <= count < batch.end:
            running = sum(t.state == TrialState.RUNNING for t in before)
            size = max(BATCH, running // SHARE)
            start = count - count % size
            self._batch = batch = PlannedBatch(
                start, start + size, self.batch(before[:start], size)
            )
        return batch.architectures

    def batch(self, trials: Sequence[FrozenTrial], size: int) -> tuple[Architecture, ...]:
        """Returns what is to be tried next, best first; nothing where evolution is to decide."""
        finished = [t for t in trials if t.state == TrialState.COMPLETE]
        if len(finished) < self.initial:
            return ()
        try:
            rng = np.random.default_rng([self.seed, len(trials)])
            found = BatchPlanner.of(self, trials).batch(size, rng)
        except (ValueError, np.linalg.LinAlgError) as error:  # they teach too little
            log.info("the next %d trials are left to evolution: %s", size, error)
            return ()
        except Exception:  # a slip of ours, no memory: a search of days is not to end by it
            log.warning("the next %d trials are left to evolution", size, exc_info=True)
            return ()
        if not found:
            log.info("the next %d trials are left to evolution: nothing new was bred", size)
        return found


@dataclass(frozen=True, slots=True)
class BatchPlanner:
    """What one batch is planned from.

    Attributes:
        rows: Genes of all trials, as codes.
        parents: Genes of those that are bred from.
        front: Losses of all that is feasible.
        corner: Losses beyond which nothing is gained.
        exact: Which objectives a graph alone tells.
    """

    sampler: SurrogateSampler
    codes: GeneCodes
    rows: Codes
    parents: Codes
    beliefs: Beliefs
    front: Array
    corner: Array
    exact: tuple[int, ...]
    seen: frozenset[str]

    @classmethod
    def of(cls, sampler: SurrogateSampler, trials: Sequence[FrozenTrial]) -> "BatchPlanner":
        """Learns from trials.

        Raises:
            ValueError: If they teach too little.
            LinAlgError: If a regression cannot be fitted.
        """
        bred = [t for t in trials if t.params]
        told = [t for t in bred if t.state == TrialState.COMPLETE]
        running = [t for t in bred if t.state != TrialState.COMPLETE]
        codes = GeneCodes.of(bred)
        losses = losses_of(told, sampler.metrics)
        rows = codes.encode([t.params for t in told])
        beliefs = learn(told, codes.one_hot(rows), losses, sampler.metrics)
        pending = codes.encode([t.params for t in running])
        means = np.zeros((0, losses.shape[1]))
        if running:
            means, _ = beliefs.at(codes.one_hot(pending))
            beliefs = beliefs.believing(codes.one_hot(pending))
        kept = np.array([violation(t) <= 0 for t in told]) & np.isfinite(losses).all(axis=1)
        parents = codes.encode([t.params for t in best_trials(told, sampler.metrics)])
        hashes = frozenset(str(t.user_attrs.get(HASH)) for t in trials)
        return cls(
            sampler,
            codes,
            np.vstack([rows, pending]),
            parents,
            beliefs,
            np.vstack([losses[kept], means]),
            corner_of(losses, told, sampler),
            exact_of(sampler, told),
            hashes,
        )

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Architecture, ...]:
        wishes = self.wishes(rng)
        if not len(wishes):
            return ()
        made = self.made(wishes[self.best(wishes, None, MADE * size, rng)], rng)
        if not made:
            return ()
        rows = self.codes.encode([dict(a.genes) for a in made])
        order = self.best(rows, self.told(made), size + SPARE, rng)
        return tuple(made[at] for at in order)

    def wishes(self, rng: np.random.Generator) -> Codes:
        """Returns genes of children, and of children of these, each once and none of a trial."""
        columns = max(1, int(self.codes.offsets[-1]))
        most = min(BRED, MOST_NUMBERS // columns, MOST_PAIRS // max(1, len(self.rows)))
        half = max(100, most) // 2
        children = self.codes.bred(self.parents, half, rng)
        further = self.codes.bred(children, half, rng)
        unique = np.unique(np.vstack([children, further]), axis=0)
        before = {row.tobytes() for row in self.rows}
        return unique[[row.tobytes() not in before for row in unique]]

    def made(self, wishes: Codes, rng: np.random.Generator) -> list[Architecture]:
        """Returns networks as near to the wishes as the space allows, if new and let through."""
        draws, found = Random(int(rng.integers(2**62))), dict[str, Architecture]()
        for wish in wishes:
            genes = self.codes.decode(wish)
            drawn = self.sampler.gate.draw(lambda: complete(self.sampler.space, genes, draws))  # noqa: B023
            if drawn is not None and passes(drawn, self.is_new):
                found.setdefault(graph_hash(drawn.architecture.graph), drawn.architecture)
        return list(found.values())

    def is_new(self, architecture: Architecture) -> bool:
        return graph_hash(architecture.graph) not in self.seen

    def told(self, made: Sequence[Architecture]) -> Array:
        """Returns the losses that graphs tell, NaN for the others."""
        losses = np.full((len(made), len(self.corner)), np.nan)
        if self.exact:
            for at, architecture in enumerate(made):
                values = self.sampler.known(architecture.graph)
                for column in self.exact:
                    losses[at, column] = np.log(values[self.sampler.metrics[column].name])
        return losses

    def best(
        self, rows: Codes, told: Array | None, count: int, rng: np.random.Generator
    ) -> NDArray[np.int_]:
        """Returns which rows to take together, best first."""
        hot = self.codes.one_hot(rows)
        posteriors = [each.posterior(hot) for each in self.beliefs.objectives]
        chances = self.beliefs.chances(hot)
        return greedy(posteriors, told, chances, self.front, self.corner, count, rng)


def corner_of(losses: Array, told: Sequence[FrozenTrial], sampler: SurrogateSampler) -> Array:
    """Returns the losses beyond which nothing is gained.

    Where the run names none: of what is maximised the median of the first trials, which are a
    sample of the space, without those that earlier runs chose; of costs the largest there was.
    """
    tried = sampler.first_tries.hashes
    drawn = [at for at, t in enumerate(told) if t.user_attrs.get(HASH) not in tried]
    corner = []
    for column, metric in zip(losses.T, sampler.metrics, strict=True):
        value = sampler.reference.get(metric.name)
        if value is not None and np.isfinite(given := as_loss(value, metric)):
            corner.append(given)
        elif metric.direction == "minimize":
            corner.append(float(np.nanmax(column)))
        else:
            first = column[drawn[: sampler.initial]]
            corner.append(float(np.nanmedian(first if np.isfinite(first).any() else column)))
    return np.array(corner)


def exact_of(sampler: SurrogateSampler, told: Sequence[FrozenTrial]) -> tuple[int, ...]:
    """Returns which costs graphs tell, if what trials were told agrees with them."""
    agreed = {at for at, m in enumerate(sampler.metrics) if m.direction == "minimize"}
    for trial in told[:PROBES] if agreed else ():
        values = sampler.known(restore(sampler.space, trial.params).graph)
        agreed = {at for at in agreed if agrees(sampler.metrics[at], values, trial.values[at])}
    return tuple(sorted(agreed))


def agrees(metric: Metric, values: Mapping[str, float], told: float) -> bool:
    value = values.get(metric.name, 0)
    return value > 0 and abs(told - value) <= SAME * value
