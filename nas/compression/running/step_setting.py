"""Step setting: what a step finds on every workbench, be it of a run or of its rehearsal."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from nas.compression.running.recipe import CompressionRecipe, RecipeStep
from nas.compression.running.start import Start, read_teacher
from nas.data.tensors import TensorSplits
from nas.problem.records import LatencyConfig
from nas.problem.training_config import TrainingConfig
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model


@dataclass(slots=True)
class StepSetting(ABC):
    """The part of a `nas.compression.workbench.Workbench` that follows from start and recipe.

    Attributes:
        step: The one that is at work.
    """

    start: Start
    recipe: CompressionRecipe
    step: RecipeStep | None = field(default=None, kw_only=True)

    @property
    def tensors(self) -> TensorSplits:
        return self.start.tensors

    @property
    def training(self) -> TrainingConfig:
        assert self.step is not None
        return self.step.training

    @property
    def latency(self) -> LatencyConfig:
        return self.recipe.latency

    @abstractmethod
    def original(self) -> Model:
        """Returns the network that the recipe began with, trained."""

    def teacher(self, path: str | None, graph: Graph) -> Model:
        return self.original() if path is None else read_teacher(path, self.start, graph)
