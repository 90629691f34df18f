"""Kept weights: which trained weights stay on disk, as ``search.keep_weights`` asks.

With ``front`` the weights of a network go once nothing can bring it to the front: it is not
feasible, or one that is told, and whose numbers are no mere predictions, dominates it. A predicted
latency or an estimated archive may turn out wrong, so what only such networks dominate stays until
the front is measured and written. What is known of a network stays in any case.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.problem.metrics import Metric
from nas.problem.pareto import losses
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.study.results import RunResults

log = logging.getLogger("nas.search")


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Removes the weights that a run is not to keep; several drivers may do so at once.

    It goes by trials that are told: what is evaluated but not told counts for nobody's front.
    """

    config: RunConfig
    run: RunFolder
    _known: dict[str, Evaluation] = field(default_factory=dict)

    def note(self, evaluation: Evaluation) -> None:
        """Removes what is not needed any more now that a trial was told this."""
        if self.config.search.keep_weights == "front":
            self._known[evaluation.hash] = evaluation
            self._remove()

    def tidy(self, results: RunResults) -> None:
        """Removes what is not needed any more, also what other drivers left."""
        if self.config.search.keep_weights == "front":
            self._known.clear()
            self._known.update((trial.hash, trial.evaluation) for trial in results.trials)
            self._remove()

    def _remove(self) -> None:
        for key in superfluous(self._known.values(), self.config.objectives):
            del self._known[key]  # what dominates it dominates all that it does
            try:
                self.run.weights_file(key).unlink(missing_ok=True)
            except OSError as error:
                log.warning("the weights of %s stay on disk: %s", key, error)


def superfluous(evaluations: Iterable[Evaluation], metrics: Sequence[Metric]) -> set[str]:
    """Returns the hashes of the networks that cannot come to the front any more."""
    every = list(evaluations)
    names = {metric.name for metric in metrics}
    feasible = [each for each in every if each.feasible and names <= each.values.keys()]
    rows = [[each.values[metric.name] for metric in metrics] for each in feasible]
    points = losses(np.array(rows, dtype=np.float64), metrics)
    settled = points[[not each.unsure for each in feasible]]
    gone = {each.hash for each in every if not each.feasible}
    for each, own in zip(feasible, points, strict=True):
        if ((settled <= own).all(axis=1) & (settled < own).any(axis=1)).any():
            gone.add(each.hash)
    return gone
