"""Samplers: Optuna's by name, and the search's own."""

import warnings
from collections.abc import Mapping, Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.evaluation.free_rules import graph_values
from nas.problem.metrics import Metric
from nas.problem.records import SAMPLERS
from nas.runs.findings.earlier_run import EarlierRun
from nas.search.proposals.aging import AgingEvolutionSampler
from nas.search.proposals.evolution import ArchiveEvolutionSampler
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.beliefs import Known
from nas.search.proposals.reinforce import ReinforceSampler
from nas.search.proposals.sieve import Sieve
from nas.search.proposals.surrogate import SurrogateSampler
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import SearchSpace


def make_sampler(
    name: str,
    space: SearchSpace,
    metrics: Sequence[Metric],
    *,
    seed: int,
    initial: int,
    gate: Gate,
    begun: int = 0,
    known: Known = graph_values,
    reference: Mapping[str, float] | None = None,
    earlier: Sequence[EarlierRun] = (),
    bounds: Mapping[str, float] | None = None,
) -> BaseSampler:
    """Returns the sampler called ``name``.

    Args:
        gate: What every proposal must pass.
        begun: Trials that the study has already. Optuna's own samplers draw from one stream of
            random numbers, which would repeat these trials if it began anew.
        known: What a graph alone tells of metrics, by name.
        reference: Worst value of interest by metric.
        earlier: What other runs found, for samplers that learn from it.
        bounds: What costs may be at most by metric, where the run says so.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name == "evolution":
        return ArchiveEvolutionSampler(space, metrics, seed=seed, initial=initial, gate=gate)
    if name == "surrogate":
        return SurrogateSampler(
            space,
            metrics,
            seed=seed,
            initial=initial,
            gate=gate,
            known=known,
            reference=reference,
            earlier=earlier,
        )
    if name == "aging":
        return AgingEvolutionSampler(space, metrics, seed=seed, initial=initial, gate=gate)
    if name == "reinforce":
        return ReinforceSampler(
            space, metrics, seed=seed, initial=initial, gate=gate, bounds=bounds
        )
    stream = (seed + begun) % 2**32
    return Sieve(optunas(name, stream, initial), space, gate, stream)


def optunas(name: str, stream: int, initial: int) -> BaseSampler:
    """Returns the sampler of Optuna's called ``name``, with its stream of random numbers."""
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of "multivariate" and "group"
            return TPESampler(seed=stream, multivariate=True, group=True, n_startup_trials=initial)
    if name == "nsga2":
        return NSGAIISampler(seed=stream, population_size=max(8, initial))
    if name == "random":
        return RandomSampler(seed=stream)
    raise UserError(f"unknown sampler {name!r}; known samplers: {', '.join(SAMPLERS)}")
