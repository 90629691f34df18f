"""Configuration of a run, as records; `nas.run_file` reads it from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from latency_models.device import Runtime
from nas.metrics import Constraint, Metric
from nas.studies import SAMPLERS
from nas.training_config import TrainingConfig
from search_spaces.errors import UserError
from search_spaces.networks import get_network
from search_spaces.precision import FP32, get_precision
from search_spaces.staged import StagedSpace

LatencySourceName = Literal["measured", "predicted", "hybrid"]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they are split.

    Attributes:
        kind: A row of ``nas.data.sources.SOURCES``.
        settings: The settings of that source.
        train: Share (float) or count (int) of the images; None takes what is left.
    """

    kind: str = "digits"
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: float | int = 0.2
    test: float | int = 0.2
    train: float | int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LatencyConfig:
    """Where and how latency is measured or predicted.

    Attributes:
        source: "hybrid" predicts, and measures the front and what the prediction leaves unsure;
            "predicted" measures the final front only.
        confidence: The probability with which a predicted latency must keep a constraint.
        runtime: None takes the device's own.
        tuned: Time several tiles of each kernel and keep the best (on disk), instead of counting.
    """

    device: str = "host"
    runtime: Runtime | None = None
    tuned: bool = False
    time_limit_s: float = 120.0
    source: LatencySourceName = "measured"
    confidence: float = 0.9

    def __post_init__(self) -> None:
        check("time_limit_s", self.time_limit_s, self.time_limit_s > 0, "above 0")
        rule = "at least 0.5 and below 1"
        check("confidence", self.confidence, 0.5 <= self.confidence < 1, rule)


@dataclass(frozen=True, slots=True)
class BaselineConfig:
    """A published network to start from and compare with.

    Attributes:
        precision: Of all layers but the first and the last, which have 8 bits, or float32 where
            maps are real.
    """

    network: str
    width: float = 1.0
    resolution: int | None = None
    precision: str = FP32.name

    def __post_init__(self) -> None:
        get_network(self.network)
        get_precision(self.precision)
        check("width", self.width, self.width > 0, "above 0")
        side = self.resolution
        check("resolution", side, side is None or side >= 1, "at least 1")


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When trainings are stopped that others have outrun; see `nas.rungs`.

    Attributes:
        grace_epochs: The first rung; the next ones are at ``reduction`` times the one before.
        reduction: One in so many goes on from a rung, and what nothing there dominates.
    """

    grace_epochs: int = 1
    reduction: int = 3

    def __post_init__(self) -> None:
        check("grace_epochs", self.grace_epochs, self.grace_epochs >= 1, "at least 1")
        check("reduction", self.reduction, self.reduction >= 2, "at least 2")


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How the space is explored.

    Attributes:
        trials: Distinct architectures to evaluate, baselines not counted.
        workers: 1 evaluates in this process; more start as many processes.
        initial: Random architectures before the sampler learns.
        training_limit_s: A candidate that trains for longer is infeasible; None waits for all.
        storage: Address of a study that several drivers may share: a database URL, or
            ``journal:PATH``; None keeps a journal file in the run folder.
        avoid_useless: Whether a precision that is slower and no smaller than a higher one on the
            device gives way to it.
        early_stopping: None trains every candidate to the end.
        cpus, gpus: Resources of one training on a cluster; a fraction shares one with others.
    """

    trials: int = 60
    workers: int = 1
    sampler: str = "evolution"
    seed: int = 0
    initial: int = 10
    training_limit_s: float | None = None
    storage: str | None = None
    avoid_useless: bool = True
    early_stopping: EarlyStopping | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for name in ("trials", "workers", "initial"):
            check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        check("seed", self.seed, 0 <= self.seed < 2**32, "between 0 and 4294967295")
        limit = self.training_limit_s
        check("training_limit_s", limit, limit is None or limit > 0, "above 0, or none")
        known = ", ".join(SAMPLERS)
        check("sampler", repr(self.sampler), self.sampler in SAMPLERS, f"one of {known}")
        whole = "a fraction up to 1, or a whole number"
        check("cpus", self.cpus, self.cpus > 0 and is_share(self.cpus), f"above 0: {whole}")
        check("gpus", self.gpus, self.gpus >= 0 and is_share(self.gpus), f"at least 0: {whole}")


def is_share(number: float) -> bool:
    """Whether Ray can hand out so much of a resource."""
    return number <= 1 or number == int(number)


def check(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"{name} must be {rule}, got {value}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run needs to know.

    Attributes:
        space: The space, still without the data's channels and classes.
        reference: Worst value of interest per metric, for the hypervolume; metrics that are not
            named take the worst feasible value found.
    """

    name: str
    data: DataConfig
    space: StagedSpace
    training: TrainingConfig
    objectives: tuple[Metric, ...]
    constraints: tuple[Constraint, ...]
    latency: LatencyConfig
    search: SearchConfig
    baselines: tuple[BaselineConfig, ...]
    reference: Mapping[str, float]
