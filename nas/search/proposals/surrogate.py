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

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.evaluation.free_rules import graph_values
from nas.problem.metrics import Metric
from nas.runs.findings.earlier_run import EarlierRun
from nas.search.proposals.batch_planner import BatchPlanner, Remembered
from nas.search.proposals.evolution import ArchiveEvolutionSampler
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.beliefs import Known
from nas.search.proposals.learning.earlier_beliefs import Teachers
from nas.search.proposals.learning.first_tries import FirstTries
from nas.search.proposals.planning import PlanningSampler
from nas.study.study import proposed
from search_spaces.building.choice import Value
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace

SINGLY = 400  # trials that are planned one by one; each is planned from all before it
BATCH = 5  # architectures that are planned together from then on
SHARE = 8  # with so many under way, a batch is an eighth of them

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
        reference: Worst value of interest by metric; see `Lived.corner` for what is not named.
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
        self.teachers = Teachers(earlier, self.metrics)
        self.first_tries = FirstTries(space, self.metrics, earlier, self.allowed, seed)
        self.remembered: Remembered | None = None
        self.random: Sequence[Mapping[str, Value]] | None = None
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
            size = max(1 if count < SINGLY else BATCH, running // SHARE)
            start = count - count % size if size <= BATCH else count
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
