"""Step ``finetune``: the network goes on from the weights that it has."""

from dataclasses import dataclass
from typing import ClassVar

from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Finetune:
    """Trains on the labels alone; ``distill`` learns from a teacher too."""

    name: ClassVar[str] = "finetune"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, model: Model, bench: Workbench) -> Made:
        result = bench.train(model.graph, bench.training, arrays=model.arrays)
        summary = f"{result.epochs_run} epochs, {percent(result.accuracy)}"
        return Made(result.model, summary, curves=(LearningCurve.of(result),))
