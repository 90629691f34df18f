"""Step ``narrow``: a share of every width, trained from scratch; the baseline of all pruning."""

from dataclasses import dataclass
from typing import ClassVar

from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from search_spaces.compression.narrowing import narrowed
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Narrow:
    """Direct reduction of channels: what the weights were is forgotten.

    Attributes:
        factor: What every width is multiplied by, such as 0.5 or 0.25.
    """

    factor: float = 0.5
    name: ClassVar[str] = "narrow"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise UserError(f"factor must be above 0 and below 1, got {self.factor:g}")

    def run(self, model: Model, bench: Workbench) -> Made:
        graph = narrowed(model.graph, self.factor)
        result = bench.train(graph, bench.training)
        summary = (
            f"widths times {self.factor:g}, {result.epochs_run} epochs from first weights, "
            f"{percent(result.accuracy)}"
        )
        return Made(result.model, summary, curves=(LearningCurve.of(result),))
