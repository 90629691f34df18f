"""Outlook: what the next trials of a run are expected to bring, by what all of them taught.

The networks that a surrogate would try next are drawn as it believes they turn out, again and
again, and what each draw adds to the hypervolume of the run is averaged. It is told for networks
that are chosen together now: those of a search learn from each other and may do better; a sampler
that does not learn does worse.
"""

from dataclasses import dataclass

import numpy as np

from nas.problem.pareto import hypervolume
from nas.search.proposals.insight.draws import drawn_values
from nas.search.proposals.insight.learned_run import LearnedRun, NothingLearnedError
from nas.study.results import RunResults

NEXT = 20  # trials that are looked ahead
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


def outlook(results: RunResults, count: int = NEXT) -> Outlook:
    """Returns what the next ``count`` trials of a run are expected to bring.

    Raises:
        NothingLearnedError: If nothing can be said, with the reason.
        UserError: If the latency model of the run is not here.
    """
    if not results.front:
        raise NothingLearnedError("nothing feasible was found yet")
    present = hypervolume(results.points(results.front), results.reference, results.metrics)
    if present <= 0:
        raise NothingLearnedError("the front has no hypervolume yet, so no gain is a share of it")
    learned = LearnedRun.of(results)
    networks = learned.untried(count)
    rng = np.random.default_rng(0)
    drawn, kept = drawn_values(learned, networks, DRAWS, rng)
    front, corner = results.points(results.front), results.reference
    gains = np.array(
        [
            hypervolume(np.vstack([front, one[which]]), corner, results.metrics) / present - 1
            for one, which in zip(drawn, kept, strict=True)
        ]
    )
    low, high = np.quantile(gains, (0.1, 0.9))
    return Outlook(
        len(networks),
        float(gains.mean()),
        float(low),
        float(high),
        float((gains > ROUNDING).mean()),
        learned.trials,
    )
