"""Step ``distill``: the network goes on from its weights, and learns from a teacher's outputs too.

*Source:* Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", NIPS 2014 Deep
Learning Workshop, https://arxiv.org/abs/1503.02531, section 2; the loss is that of
`nas.training.loss`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from nas.training.holding import HoldAs, to_hold
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Distill:
    """Fine-tuning with a teacher.

    Attributes:
        teacher: A model folder; None is the network that the recipe began with.
        temperature: What the outputs of both are divided by to compare them.
        alpha: Share of the loss that is the distance from the teacher.
        hold: What pruned and shared weights keep to; "auto" is what the network is.
    """

    teacher: str | None = None
    temperature: float = 4.0
    alpha: float = 0.7
    hold: HoldAs = "auto"
    name: ClassVar[str] = "distill"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"temperature must be above 0, got {self.temperature:g}")
        if not 0 < self.alpha <= 1:
            raise UserError(
                f"alpha must be above 0 and at most 1, got {self.alpha:g}; without a teacher's "
                "share the step is finetune"
            )

    def run(self, model: Model, bench: Workbench) -> Made:
        teacher = bench.teacher(self.teacher, model.graph)
        config = replace(
            to_hold(bench.training, model, self.hold),
            distillation_weight=self.alpha,
            distillation_temperature=self.temperature,
        )
        result = bench.train(model.graph, config, arrays=model.arrays, teacher=teacher)
        whose = self.teacher or "the original"
        summary = f"{result.epochs_run} epochs from {whose}, {percent(result.accuracy)}"
        return Made(result.model, summary, curves=(LearningCurve.of(result),))
