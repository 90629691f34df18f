"""Outlook: what the next trials of a run are expected to bring, by what all of them taught.

The networks that a surrogate would try next are drawn as it believes they turn out, again and
again, and what each draw adds to the hypervolume of the run is averaged. It is told for networks
that are chosen together now: those of a search learn from each other and may do better; a sampler
that does not learn does worse. What was chosen as the best of many is seldom as good as believed,
so beside it stands what was told, and what came, of the trials before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.problem.pareto import Points, hypervolume
from nas.search.proposals.batch_planner import BatchPlanner
from nas.search.proposals.insight.draws import drawn_values
from nas.search.proposals.insight.learned_run import LEAST, LearnedRun, NothingLearnedError
from nas.study.gains import ended_architectures
from nas.study.names import HASH
from nas.study.results import RunResults
from search_spaces.space.space import Architecture

NEXT, NEXT_OF_MANY = 20, 5  # trials that are looked ahead; beyond two objectives each costs more
DRAWS = 200
ROUNDING = 1e-12  # of a hypervolume that did not change


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the next trials are expected to bring.

    Attributes:
        next: How many they are.
        gain: Hypervolume that they are expected to add, as a share of the present one.
        low, high: What it is in a tenth, and in nine tenths, of the draws.
        chance: That they add anything, 0..1.
        trials: Finished trials that this was learned from.
    """

    next: int
    gain: float
    low: float
    high: float
    chance: float
    trials: int


@dataclass(frozen=True, slots=True)
class OutlookCheck:
    """What was expected of the last trials before they ran, and what they brought."""

    trials: int
    told: float
    found: float


def trials_ahead(results: RunResults) -> int:
    """Returns how many trials a run is looked ahead, so that it takes a second or two."""
    return NEXT if len(results.metrics) <= 2 else NEXT_OF_MANY


def outlook(results: RunResults) -> Outlook:
    """Returns what the next trials of a run are expected to bring.

    Raises:
        NothingLearnedError: If nothing can be said, with the reason.
        UserError: If the latency model of the run is not here.
    """
    if not results.front:
        raise NothingLearnedError("nothing feasible was found yet")
    if hypervolume_of(results, results) <= 0:
        raise NothingLearnedError("the front has no hypervolume yet, so no gain is a share of it")
    learned = LearnedRun.of(results)
    networks = learned.untried(trials_ahead(results))
    front = results.points(results.front)
    gains = gains_of(learned.planner, networks, front, results.reference)
    low, high = np.quantile(gains, (0.1, 0.9))
    return Outlook(
        len(networks),
        float(gains.mean()),
        float(low),
        float(high),
        float((gains > ROUNDING).mean()),
        learned.trials,
    )


def outlook_check(results: RunResults) -> OutlookCheck | None:
    """Returns how good the outlook was before the last trials; None where there was none."""
    count = trials_ahead(results)
    ended = ended_architectures(results.asked)
    if len(ended) < count + LEAST:
        return None
    known = {trial.user_attrs[HASH] for trial in ended[:-count]}
    before = replace(
        results,
        trials=tuple(trial for trial in results.trials if trial.hash in known),
        asked=tuple(ended[:-count]),
    )
    try:
        told = outlook(before).gain
    except NothingLearnedError:
        return None
    found = hypervolume_of(results, before) / hypervolume_of(before, before) - 1
    return OutlookCheck(count, told, found)


def hypervolume_of(results: RunResults, before: RunResults) -> float:
    """Returns the hypervolume of a front, up to the reference that was right ``before``."""
    return hypervolume(results.points(results.front), before.reference, results.metrics)


def gains_of(
    planner: BatchPlanner,
    networks: Sequence[Architecture],
    front: Points,
    corner: Sequence[float],
) -> Points:
    """Returns the share by which the hypervolume grows with these networks, draw by draw."""
    metrics = planner.sampler.metrics
    drawn, kept = drawn_values(planner, networks, DRAWS, np.random.default_rng(0))
    present = hypervolume(front, corner, metrics)
    grown = [
        hypervolume(np.vstack([front, one[which]]), corner, metrics)
        for one, which in zip(drawn, kept, strict=True)
    ]
    return np.array(grown) / present - 1
