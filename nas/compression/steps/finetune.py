"""Step ``finetune``: the network goes on from the weights that it has."""

from dataclasses import dataclass
from typing import ClassVar

from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from nas.training.holding import HoldAs, to_hold
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Finetune:
    """Trains on the labels alone; ``distill`` learns from a teacher too.

    Attributes:
        hold: What pruned and shared weights keep to; "auto" is what the network is.
    """

    hold: HoldAs = "auto"
    name: ClassVar[str] = "finetune"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, model: Model, bench: Workbench) -> Made:
        config = to_hold(bench.training, model, self.hold)
        result = bench.train(model.graph, config, arrays=model.arrays)
        summary = f"{result.epochs_run} epochs, {percent(result.accuracy)}"
        return Made(result.model, summary, curves=(LearningCurve.of(result),))
