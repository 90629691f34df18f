"""Batch planner: what one batch of the surrogate is planned from, and how it is chosen.

Rows of genes are bred in rounds, first of the front, then of what the last rounds expect most of;
of the most promising the space makes networks, which are judged again as they are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from nas.problem.metrics import Metric
from nas.search.proposals.evolution import best_trials
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.beliefs import Beliefs, Known
from nas.search.proposals.learning.earlier_beliefs import Teachers
from nas.search.proposals.learning.first_tries import FirstTries
from nas.search.proposals.learning.gene_codes import Codes, GeneCodes
from nas.search.proposals.learning.greedy import greedy
from nas.search.proposals.learning.improvement import expected_improvement
from nas.search.proposals.learning.lived import Lived, refitted_at
from nas.search.proposals.learning.losses import LossPosterior, LossShape
from nas.search.proposals.left_over import passes
from nas.study.gains import violation
from nas.study.names import HASH
from search_spaces.building.choice import Value
from search_spaces.space.architecture import check_sizes, graph_hash
from search_spaces.space.space import Architecture, SearchSpace, complete, restore, sample

DOUBTS = (0.5, 1.0)  # what deviations are multiplied by, by turns: to gain, to explore
BRED = 2000  # rows of genes in all rounds
ROUNDS = 4
BREEDERS = 40  # rows that the next round is bred from
OF_ANY = 0.25  # share of the first round that is bred from any trial, not from the front
WISHES = 200  # rows that networks are chosen from
MOST_NUMBERS = 4_000_000  # that rows are written in; fewer are bred of very long genes
MOST_PAIRS = 1_200_000  # of rows and trials; fewer are bred where many trials are known
MADE, MADE_MORE = 3, 1  # networks that are made for each that is proposed, and beside these
SPARE = 3  # that are planned further, in case others propose the same
PROBES = 6  # trials by which it is seen whether what graphs tell is what trials were told
RANDOM = 150  # architectures of the space by which the corner is found
SAME = 1e-6  # share by which the two may differ

Array = NDArray[np.float64]
log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the first trials of a study teach for a while.

    Attributes:
        count: How many they are.
        shapes: Of the covariances.
        exact: Which objectives a graph alone tells.
    """

    count: int
    shapes: Mapping[str, LossShape]
    exact: tuple[int, ...]


class Asker(Protocol):
    """Who plans batches, and on which terms."""

    remembered: Remembered | None
    random: Sequence[Mapping[str, Value]] | None

    @property
    def seed(self) -> int: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def initial(self) -> int: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def known(self) -> Known: ...
    @property
    def reference(self) -> Mapping[str, float]: ...
    @property
    def teachers(self) -> Teachers: ...
    @property
    def first_tries(self) -> FirstTries: ...


@dataclass(frozen=True, slots=True)
class BatchPlanner:
    """What one batch is planned from.

    Attributes:
        rows: Genes of all trials, as codes.
        parents: Genes of those that are bred from.
        front: Losses of all that is feasible.
        corner: Losses beyond which nothing is gained.
        exact: Which objectives a graph alone tells.
        seen: Hashes of the graphs of all trials.
    """

    sampler: Asker
    codes: GeneCodes
    rows: Codes
    parents: Codes
    beliefs: Beliefs
    front: Array
    corner: Array
    exact: tuple[int, ...]
    seen: frozenset[str]

    @classmethod
    def of(cls, sampler: Asker, trials: Sequence[FrozenTrial]) -> "BatchPlanner":
        """Learns from trials.

        Raises:
            ValueError: If they teach too little.
            LinAlgError: If a regression cannot be fitted.
        """
        remembered = remembered_of(sampler, trials)
        lived = Lived.of(trials, sampler.metrics)
        beliefs = lived.learn(sampler.metrics, sampler.teachers, remembered.shapes)
        codes, losses = lived.codes, lived.losses
        random = codes.features(codes.encode(random_genes(sampler)))
        corner = lived.corner(
            beliefs.means(random),
            sampler.metrics,
            sampler.initial,
            sampler.reference,
            sampler.first_tries.hashes,
        )
        pending = codes.encode([t.params for t in lived.running])
        means = np.zeros((0, losses.shape[1]))
        if len(pending):
            means = beliefs.means(codes.features(pending))
            beliefs = beliefs.believing(codes.features(pending))
        kept = np.array([violation(t) <= 0 for t in lived.told]) & np.isfinite(losses).all(axis=1)
        parents = codes.encode([t.params for t in best_trials(lived.told, sampler.metrics)])
        return cls(
            sampler,
            codes,
            np.vstack([lived.rows, pending]),
            parents,
            beliefs,
            np.vstack([losses[kept], means]),
            corner,
            remembered.exact,
            frozenset(str(t.user_attrs.get(HASH)) for t in trials),
        )

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Architecture, ...]:
        """Returns what is to be tried next, best first; nothing where nothing new is promising."""
        wishes, at_once = self.wishes(rng), MADE * size + MADE_MORE
        while len(wishes):
            chosen = self.best(wishes, at_once, rng)
            made = self.made(wishes[chosen], rng)
            if found := tuple(made[at] for at in self.best_made(made, size + SPARE, rng)):
                return found
            # These became networks that are known, refused, or no better: the next ones.
            wishes = np.delete(wishes, chosen if len(chosen) else slice(None), axis=0)
        return ()

    def wishes(self, rng: np.random.Generator) -> Codes:
        """Returns genes from which something is expected, each once and none of a trial's."""
        pool = np.zeros((0, self.rows.shape[1]), dtype=np.int64)
        gains = np.zeros(0)
        before = {row.tobytes() for row in self.rows}
        for number in range(ROUNDS):
            bred = self.children(pool[:BREEDERS], rng) if number else self.first_children(rng)
            fresh = unseen(bred, before)
            if fresh:
                pool = np.vstack([pool, fresh])
                gains = np.append(gains, self.gains(np.array(fresh), rng))
                order = np.argsort(-gains, kind="stable")[:WISHES]
                pool, gains = pool[order], gains[order]
        return pool[gains > 0]

    @property
    def bred(self) -> int:
        """How many rows a round breeds."""
        columns, trials = max(1, int(self.codes.offsets[-1])), max(1, len(self.rows))
        return max(100, min(BRED, MOST_NUMBERS // columns, MOST_PAIRS // trials)) // ROUNDS

    def children(self, parents: Codes, rng: np.random.Generator) -> Codes:
        return self.codes.bred(parents if len(parents) else self.parents, self.bred, rng)

    def first_children(self, rng: np.random.Generator) -> Codes:
        """Returns children of the front, and some of any trial, to find what lies elsewhere."""
        elsewhere = round(OF_ANY * self.bred)
        return np.vstack(
            [
                self.codes.bred(self.parents, self.bred - elsewhere, rng),
                self.codes.bred(self.rows, elsewhere, rng),
            ]
        )

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

    def gains(self, rows: Codes, rng: np.random.Generator) -> Array:
        """Returns the hypervolume that each row is expected to add."""
        hot = self.codes.features(rows)
        gains = expected_improvement(self.believed(hot), self.front, self.corner, rng)
        return gains * self.beliefs.chances(hot)

    def best(self, rows: Codes, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Returns which rows to take together, best first."""
        hot = self.codes.features(rows)
        chances = self.beliefs.chances(hot)
        return greedy(self.believed(hot), chances, self.front, self.corner, count, rng)

    def best_made(
        self, made: Sequence[Architecture], count: int, rng: np.random.Generator
    ) -> NDArray[np.intp]:
        """Returns which networks to take together, best first."""
        if not made:
            return np.zeros(0, np.intp)
        posteriors = self.believed(self.features(made))
        for posterior, losses in zip(posteriors, self.told(made).T, strict=True):
            posterior.know(losses)
        return greedy(posteriors, self.chances(made), self.front, self.corner, count, rng)

    def features(self, networks: Sequence[Architecture]) -> Array:
        return self.codes.features(self.codes.encode([dict(a.genes) for a in networks]))

    def chances(self, networks: Sequence[Architecture]) -> Array:
        """Returns how likely networks that the gate lets through keep all constraints, 0..1."""
        return self.beliefs.chances(self.features(networks), kept=self.sampler.gate.free)

    def believed(self, hot: Array) -> list[LossPosterior]:
        """Returns what is believed of each loss."""
        doubt = DOUBTS[len(self.rows) % len(DOUBTS)]
        return [each.posterior(hot, doubt) for each in self.beliefs.objectives]


def unseen(rows: Codes, before: set[bytes]) -> list[Codes]:
    """Returns rows that were not before, each once, and notes them there."""
    found = []
    for row in rows:
        key = row.tobytes()
        if key not in before:
            before.add(key)
            found.append(row)
    return found


def remembered_of(sampler: Asker, trials: Sequence[FrozenTrial]) -> Remembered:
    """Returns what the first of the trials teach for a while; the sampler keeps it.

    Shapes cost most to learn and change least. Which trials they are learned from depends on their
    number alone, so that a resumed search learns the same.
    """
    count = refitted_at(len(trials))
    if sampler.remembered is None or sampler.remembered.count != count:
        lived = Lived.of(trials[:count], sampler.metrics)
        shapes: Mapping[str, LossShape] = {}
        if len(lived.told) >= min(sampler.initial, count):
            try:
                shapes = lived.learn(sampler.metrics, sampler.teachers).shapes
            except ValueError:  # too little yet; the trials since then may teach it
                shapes = {}
        if sampler.teachers.runs and shapes:
            log.info("earlier runs that are heard: %s", sampler.teachers.heard(shapes) or "none")
        sampler.remembered = Remembered(count, shapes, exact_of(sampler, lived.told))
    return sampler.remembered


def random_genes(sampler: Asker) -> Sequence[Mapping[str, Value]]:
    """Returns genes of random architectures that the gate lets through; the sampler keeps them.

    They are no proposals, so what the gate refuses here it does not count.
    """
    if sampler.random is None:
        rng, found = Random(f"{sampler.seed} corner"), []
        for _ in range(RANDOM):
            try:
                architecture = sample(sampler.space, rng)
                check_sizes(architecture.graph)
                if sampler.gate.judge(architecture.graph).excess <= 0:
                    found.append(dict(architecture.genes))
            except ValueError:  # these decisions make no network
                continue
        sampler.random = found
    return sampler.random


def exact_of(sampler: Asker, told: Sequence[FrozenTrial]) -> tuple[int, ...]:
    """Returns which costs graphs tell, if what trials were told agrees with them."""
    agreed = {at for at, m in enumerate(sampler.metrics) if m.direction == "minimize"}
    for trial in told[:PROBES] if agreed else ():
        values = sampler.known(restore(sampler.space, trial.params).graph)
        agreed = {at for at in agreed if agrees(sampler.metrics[at], values, trial.values[at])}
    return tuple(sorted(agreed))


def agrees(metric: Metric, values: Mapping[str, float], told: float) -> bool:
    value = values.get(metric.name, 0)
    return value > 0 and abs(told - value) <= SAME * value
