"""Step ``train``: the network from its first weights, as published networks need it."""

from dataclasses import dataclass
from typing import ClassVar

from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Train:
    """Trains the network from weights drawn from the seed; what it was before is forgotten."""

    name: ClassVar[str] = "train"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, model: Model, bench: Workbench) -> Made:
        result = bench.train(model.graph, bench.training)
        summary = f"{result.epochs_run} epochs from first weights, {percent(result.accuracy)}"
        return Made(result.model, summary, curves=(LearningCurve.of(result),))
