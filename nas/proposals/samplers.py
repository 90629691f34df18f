"""Samplers: Optuna's by name, and the search's own."""

import warnings
from collections.abc import Callable, Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.problem.metrics import Metric
from nas.problem.records import SAMPLERS
from nas.proposals.evolution import ArchiveEvolutionSampler
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import SearchSpace


def make_sampler(
    name: str,
    space: SearchSpace,
    metrics: Sequence[Metric],
    *,
    seed: int,
    initial: int,
    affordable: Callable[[Graph], bool],
    begun: int = 0,
) -> BaseSampler:
    """Returns the sampler called ``name``.

    Args:
        begun: Trials that the study has already. Optuna's own samplers draw from one stream of
            random numbers, which would repeat these trials if it began anew.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name == "evolution":
        return ArchiveEvolutionSampler(
            space, metrics, seed=seed, initial=initial, affordable=affordable
        )
    stream = (seed + begun) % 2**32
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of "multivariate" and "group"
            return TPESampler(seed=stream, multivariate=True, group=True, n_startup_trials=initial)
    if name == "nsga2":
        return NSGAIISampler(seed=stream, population_size=max(8, initial))
    if name == "random":
        return RandomSampler(seed=stream)
    raise UserError(f"unknown sampler {name!r}; known samplers: {', '.join(SAMPLERS)}")
