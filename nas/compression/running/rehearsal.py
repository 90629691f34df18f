"""Rehearsal: every step of a recipe in seconds, before anything that takes hours.

Each training is a few steps only, timed; everything else is done as in the run, on the weights
that are there. It finds what would stop a run: a teacher of other classes, a layer that cannot be
cut, a network that does not fit in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from nas.compression.running.recipe import CompressionRecipe, RecipeStep
from nas.compression.running.start import Start
from nas.compression.running.step_setting import StepSetting
from nas.data.tensors import check_input
from nas.export.write import ExportReport
from nas.models.archives.forms import Entropy
from nas.nn.interpreter import to_model
from nas.nn.memory import check_memory, refusing_too_large
from nas.problem.answers import Confusion
from nas.problem.training_config import TrainingConfig
from nas.training.loop import TrainingResult, go_on
from nas.training.trainer import Trainer, check_output, new_module
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model

TIMED_STEPS = 2  # the first one sets up memory and is not counted
FORWARD_SHARE = 1 / 3  # of a training step, which goes there and back


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What a step will do.

    Attributes:
        summary: In one line, as far as it is known before trainings.
        trainings: Seconds an epoch and how many, of each.
    """

    step: RecipeStep
    summary: str
    trainings: tuple[tuple[float, int], ...]

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.trainings)

    @property
    def seconds(self) -> float:
        return sum(each * epochs for each, epochs in self.trainings)


@dataclass(slots=True)
class RehearsalBench(StepSetting):
    """A workbench on which nothing takes long."""

    first: Model | None = None
    is_rehearsal: bool = True
    trainings: list[tuple[float, int]] = field(default_factory=list)

    def original(self) -> Model:
        return self.first or self.start.stored.model

    def train(
        self,
        graph: Graph,
        config: TrainingConfig,
        *,
        arrays: Mapping[str, Array] | None = None,
        teacher: Model | None = None,
        what: str = "",
    ) -> TrainingResult:
        split = self.tensors.train
        check_input(split, graph.input_shape)
        check_output(split, graph)
        with refusing_too_large(graph), torch.random.fork_rng([]):
            check_memory(graph, min(config.batch_size, len(split)), split.device)
            module = new_module(graph, config, arrays, split.device)
            first = to_model(module)
            trainer = Trainer(module, split, config, go_on, teacher)
            trainer.module.train()
            rows = torch.arange(min(config.batch_size, len(split)), device=split.device)
            seconds = 0.0
            for _ in range(TIMED_STEPS):
                begun = perf_counter()
                trainer.rate = 0.0
                float(trainer.run_step(rows))  # waits for a GPU
                seconds = perf_counter() - begun
        batches = len(self.tensors.validation) / len(rows)
        each = seconds * (trainer.steps + FORWARD_SHARE * batches)
        self.trainings.append((each, config.epochs))
        nobody = Confusion(split.num_classes, ())
        return TrainingResult(first, (0.0,), (0.0,), seconds, False, nobody)

    def latency_ms(self, model: Model) -> float | None:
        return None

    def export(
        self, model: Model, formats: tuple[str, ...], batch: int | None, entropy: Entropy
    ) -> ExportReport:
        raise AssertionError("a rehearsal writes no file")

    def archive(self, model: Model, entropy: Entropy, file: str) -> Path:
        raise AssertionError("a rehearsal writes no file")

    def say(self, text: str) -> None:
        """Nobody watches."""


def rehearse(
    start: Start, recipe: CompressionRecipe, model: Model | None = None, done: int = 0
) -> tuple[PlannedStep, ...]:
    """Returns what the steps after the first ``done`` will do; ``model`` is what they get.

    Raises:
        UserError: If a step cannot apply, by its name; all steps before it can.
    """
    if not start.is_trained and recipe.steps[0].name != "train":
        raise UserError(
            f"steps.0 must be train, got {recipe.steps[0].name}: {start.stored.name} is a "
            "published network without weights; or give a folder that holds a trained one"
        )
    bench = RehearsalBench(start, recipe)
    current = start.stored.model if model is None else model
    planned = []
    for step in recipe.steps[done:]:
        bench.step, bench.trainings = step, []
        try:
            made = step.step.run(current, bench)
        except UserError as error:
            raise UserError(f"steps.{step.number - 1}.{step.name}: {error}") from None
        current = made.model
        summary = f"{bench.trainings[0][1]} epochs" if bench.trainings else made.summary
        planned.append(PlannedStep(step, summary, tuple(bench.trainings)))
    return tuple(planned)
