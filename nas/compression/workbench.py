"""Workbench: what a step of a compression is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from nas.compression.layer_curves import LayerCurve
from nas.data.tensors import TensorSplits
from nas.export.write import ExportReport
from nas.models.archives.forms import Entropy
from nas.problem.records import LatencyConfig
from nas.problem.training_config import TrainingConfig
from nas.training.loop import TrainingResult
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One training of a step.

    Attributes:
        what: Which of its trainings, in words; "" where there is one.
    """

    what: str
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    seconds: float

    @classmethod
    def of(cls, result: TrainingResult, what: str = "") -> "LearningCurve":
        return cls(what, result.train_loss, result.validation_accuracy, result.seconds)


@dataclass(frozen=True, slots=True)
class LayerNote:
    """What a step did to a layer, or why it left it as it was, in words."""

    layer: str
    text: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many scales of batch norms are of which size.

    Attributes:
        edges: Of the bins, by absolute value, one more than there are counts.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made of a network.

    Attributes:
        summary: What it did, in one line.
        layers: Of those layers that there is something to say of.
        histograms: By what they show; see `Histogram`.
        layer_curves: What accuracy each layer alone leaves, changed by ever more.
        figures: Numbers that the step found or chose, JSON-ready.
    """

    model: Model
    summary: str
    layers: tuple[LayerNote, ...] = ()
    curves: tuple[LearningCurve, ...] = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    layer_curves: tuple[LayerCurve, ...] = ()


class Workbench(Protocol):
    """What steps work with; in a rehearsal it trains a few steps only, and times nothing."""

    @property
    def tensors(self) -> TensorSplits: ...

    @property
    def training(self) -> TrainingConfig:
        """The recipe's, which each step may change."""
        ...

    @property
    def latency(self) -> LatencyConfig: ...

    @property
    def is_rehearsal(self) -> bool: ...

    def original(self) -> Model:
        """Returns the network that the recipe began with, trained."""
        ...

    def teacher(self, path: str | None, graph: Graph) -> Model:
        """Returns the network of a model folder, for inputs as ours are; None is the original.

        Raises:
            UserError: If there is none, or it has other classes or another input than ``graph``.
        """
        ...

    def train(
        self,
        graph: Graph,
        config: TrainingConfig,
        *,
        arrays: Mapping[str, Array] | None = None,
        teacher: Model | None = None,
        what: str = "",
    ) -> TrainingResult:
        """Returns the trained network; see `nas.training.loop.train`."""
        ...

    def latency_ms(self, model: Model) -> float | None:
        """Returns what a network takes on the device; None where nothing is timed.

        Raises:
            DeviceBusyError: If the machine is too busy to be timed.
        """
        ...

    def export(
        self, model: Model, formats: tuple[str, ...], batch: int | None, entropy: Entropy
    ) -> ExportReport:
        """Writes a network as files, each checked, into the run's folder."""
        ...

    def archive(self, model: Model, entropy: Entropy, file: str) -> Path:
        """Writes a network as an archive into the run's folder, reads it again, and returns where.

        Args:
            file: What it is called there.
        """
        ...

    def say(self, text: str) -> None:
        """Tells whoever watches."""
        ...


class CompressionStep(Protocol):
    """One step of a recipe; its fields are its settings.

    Attributes:
        compresses: Whether it makes networks smaller or faster, or prepares that: it is left out
            once ``stop.until`` holds.
        holds_accuracy: Whether what accuracy has fallen by is looked at behind it; what only
            cuts is looked at when something has trained it.
        trains: Whether it takes the keys of ``training`` beside its own.
    """

    name: ClassVar[str]
    compresses: ClassVar[bool]
    holds_accuracy: ClassVar[bool]
    trains: ClassVar[bool]

    def run(self, model: Model, bench: Workbench) -> Made:
        """Returns what becomes of a network.

        Raises:
            UserError: If it cannot apply; the message names the layer where there is one.
        """
        ...
