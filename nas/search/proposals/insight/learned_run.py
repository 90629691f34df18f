"""Learned run: a surrogate that has learned from all trials of a run, whichever sampler made them.

What it says is in the metrics' own units: it believes costs by their logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from optuna.trial import TrialState

from latency_models.prediction.predictor import Predictor
from nas.evaluation.free_rules import FreeRules
from nas.problem.metrics import Metric
from nas.problem.records import RunConfig
from nas.runs.findings.earlier_run import kept
from nas.search.proposals.batch_planner import BatchPlanner
from nas.search.proposals.gate import Gate
from nas.search.proposals.surrogate import SurrogateSampler
from nas.study.names import ENQUEUED, HASH
from nas.study.results import RunResults
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import Architecture
from search_spaces.space.staged import StagedSpace, count_architectures


class NothingLearnedError(UserError):
    """Why a run says nothing of networks that were not tried; who asks names the run."""


USED_UP = "all architectures of the space were tried"
LEAST = 10  # finished trials, to say anything of others
Array = NDArray[np.float64]


def value_of_loss(metric: Metric, losses: Array) -> Array:
    """Returns losses of the surrogate as values of a metric."""
    return -losses if metric.direction == "maximize" else np.exp(losses)


@dataclass(frozen=True, slots=True)
class LearnedRun:
    """What was learned from a run.

    Attributes:
        planner: The surrogate, as it would plan the run's next batch.
        trials: Finished trials that it learned from.
    """

    results: RunResults
    planner: BatchPlanner
    trials: int

    @classmethod
    def of(cls, results: RunResults) -> "LearnedRun":
        """Learns from a run; its trials alone count, not what made them.

        Raises:
            NothingLearnedError: If they teach too little.
            UserError: If the latency model of the run is not here.
        """
        told = told_trials(results)
        if told < LEAST:
            if is_used_up(results):
                raise NothingLearnedError(USED_UP)
            raise NothingLearnedError(
                f"too little to learn from: it takes {LEAST} finished trials of the space, there "
                f"{'is' if told == 1 else 'are'} {told or 'none'}"
            )
        sampler = sampler_of(results)
        try:
            planner = BatchPlanner.of(sampler, results.asked)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            raise NothingLearnedError(
                f"{told} finished trials teach nothing of others: {error}"
            ) from None
        queued = {str(trial.user_attrs.get(ENQUEUED)) for trial in results.asked}
        return cls(results, replace(planner, seen=planner.seen | queued), told)

    def untried(self, count: int, seed: int = 0) -> tuple[Architecture, ...]:
        """Returns up to so many networks that together are expected to gain most, best first.

        Each is new, a network of the space, and keeps what is free to know.

        Raises:
            NothingLearnedError: If there is none.
        """
        rng = np.random.default_rng([seed, len(self.results.asked)])
        found = self.planner.batch(count, rng)[:count]
        if not found:
            raise NothingLearnedError(f"nothing is left to suggest: {self.why_none()}")
        return found

    def why_none(self) -> str:
        if is_used_up(self.results):
            return USED_UP
        refused = self.planner.sampler.gate.in_one_line()
        return "no network near the front is new and expected to gain anything" + (
            f" ({refused})" if refused else ""
        )

    def believed(self, networks: Sequence[Architecture]) -> tuple[Array, Array]:
        """Returns what networks are expected to be, and the doubt: losses, (networks, objectives).

        What graphs tell has no doubt.
        """
        planner = self.planner
        rows = planner.features(networks)
        means = planner.beliefs.means(rows)
        spread = planner.beliefs.doubts(rows)
        told = planner.told(networks)
        known = np.isfinite(told)
        return np.where(known, told, means), np.where(known, 0.0, spread)

    def chances(self, networks: Sequence[Architecture]) -> Array:
        """Returns how likely networks keep every constraint, 0..1."""
        return self.planner.chances(networks)


def is_used_up(results: RunResults) -> bool:
    return len(results.searched) >= count_architectures(results.config.space)


def told_trials(results: RunResults) -> int:
    """Returns how many finished trials have genes to learn from."""
    done = {
        t.user_attrs[HASH] for t in results.asked if t.state == TrialState.COMPLETE and t.params
    }
    return len(done)


def sampler_of(results: RunResults) -> SurrogateSampler:
    """Returns the sampler that would go on with a run.

    Raises:
        UserError: If latencies are predicted, and the device has no latency model here.
    """
    config = results.config
    rules = FreeRules(config, latency_model(config))
    return SurrogateSampler(
        space_of(results),
        config.objectives,
        seed=config.search.seed,
        initial=config.search.initial,
        gate=Gate.of(rules),
        known=rules.values,
        reference=config.reference,
        earlier=kept(results.run),
    )


def space_of(results: RunResults) -> StagedSpace:
    """Returns the space for the images and classes of the run, as its networks have them."""
    graph = results.run.load_architecture(results.trials[0].hash).graph
    channels, classes = graph.input_shape[0], graph.nodes[-1].shape[0]
    return replace(results.config.space, in_channels=channels, num_classes=classes)


def latency_model(config: RunConfig) -> Predictor | None:
    """Returns what predicts the latencies of candidates, where they are never measured."""
    if config.latency.source != "predicted":
        return None
    from nas.evaluation.instruments import Instruments

    return Instruments().needed_model(config)
