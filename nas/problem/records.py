"""Configuration of a run, as records; `nas.problem.run_file` reads it from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from latency_models.devices.device import Runtime
from nas.data.splits import Normalization
from nas.problem.addresses import check_address
from nas.problem.formatting import seconds_of
from nas.problem.metrics import Constraint, Metric
from nas.problem.training_config import TrainingConfig
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.precision import FP32, get_precision
from search_spaces.networks import get_network
from search_spaces.space.staged import StagedSpace

KeepWeights = Literal["all", "front"]
LatencySourceName = Literal["measured", "predicted", "hybrid"]
EvaluationName = Literal["training", "supernet"]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they are split.

    Attributes:
        kind: A row of ``nas.data.sources.registry.SOURCES``.
        settings: The settings of that source.
        train: Share (float) or count (int) of the images; None takes what is left.
        normalization: What inputs are shifted and scaled by; None takes the mean and deviation of
            the training images.
    """

    kind: str = "digits"
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: float | int = 0.2
    test: float | int = 0.2
    train: float | int | None = None
    seed: int = 0
    normalization: Normalization | None = None


@dataclass(frozen=True, slots=True)
class LatencyConfig:
    """Where and how latency is measured or predicted.

    Attributes:
        max_drift: How busy the machine may be, in the place of the device's own; see `Device`.
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
    max_drift: float | None = None

    def __post_init__(self) -> None:
        drift = self.max_drift
        check("max_drift", drift, drift is None or drift > 1, "above 1, or none")
        check("time_limit_s", self.time_limit_s, self.time_limit_s > 0, "above 0")
        rule = "at least 0.5 and below 1"
        check("confidence", self.confidence, 0.5 <= self.confidence < 1, rule)


@dataclass(frozen=True, slots=True)
class BaselineConfig:
    """A network to start from and compare with: a published one, or one that is trained.

    Attributes:
        network: Name of a published one, which the search trains.
        precision: Of all layers but the first and the last, which have 8 bits, or float32 where
            maps are real.
        model: A model folder, export or archive, which keeps its weights and is not trained.
    """

    network: str | None = None
    width: float = 1.0
    resolution: int | None = None
    precision: str = FP32.name
    model: str | None = None

    def __post_init__(self) -> None:
        if (self.network is None) == (self.model is None):
            raise UserError(
                "a baseline must have either 'network', the name of a published one, or 'model', "
                f"the path of a trained one, got {self.network!r} and {self.model!r}"
            )
        if self.model is not None:
            if (self.width, self.resolution, self.precision) != (1.0, None, FP32.name):
                raise UserError(
                    f"baseline {self.model}: a model is taken as it is; leave out width, "
                    "resolution and precision"
                )
            return
        assert self.network is not None
        get_network(self.network)
        get_precision(self.precision)
        check("width", self.width, self.width > 0, "above 0")
        side = self.resolution
        check("resolution", side, side is None or side >= 1, "at least 1")


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When trainings are stopped that others have outrun; see `nas.evaluation.early_stopping`.

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
class Inherit:
    """Which candidates begin with weights of another; see `nas.training.inheritance`.

    Attributes:
        epochs: Share of ``training.epochs`` that they are trained for.
        after: So many networks are trained from nothing before the first one inherits.
        afresh: Share of the others that are trained from nothing all the same.
        least_share: Of a network's weights, that its parent must have.
    """

    epochs: float = 0.3
    after: int = 8
    afresh: float = 0.1
    least_share: float = 0.5

    def __post_init__(self) -> None:
        check("inherit.epochs", self.epochs, 0 < self.epochs <= 1, "above 0 and at most 1")
        check("inherit.after", self.after, self.after >= 1, "at least 1")
        check("inherit.afresh", self.afresh, 0 <= self.afresh < 1, "in [0, 1)")
        share = self.least_share
        check("inherit.least_share", share, 0 < share <= 1, "above 0 and at most 1")

    def epochs_of(self, epochs: int) -> int:
        """Returns how many epochs a network that inherits is trained, at least one.

        >>> Inherit(epochs=0.3).epochs_of(12), Inherit(epochs=0.3).epochs_of(1)
        (4, 1)
        """
        return max(1, round(self.epochs * epochs))


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a search has had enough before its trials are over; see `nas.study.gains`.

    Attributes:
        no_gain_in: So many finished trials in a row in which the hypervolume did not grow.
    """

    no_gain_in: int

    def __post_init__(self) -> None:
        check("stop.no_gain_in", self.no_gain_in, self.no_gain_in >= 1, "at least 1")


@dataclass(frozen=True, slots=True)
class SupernetConfig:
    """How the shared weights of a space are trained, whose slices a search evaluates.

    Attributes:
        epochs: In each of which the largest networks see every training image once, and smaller
            ones a share.
        batch_size: Of the largest networks.
        learning_rate: Of AdamW, after an epoch of warm-up; it falls as a cosine.
        tune_epochs: For which networks of the final front are trained on from their slices; 0
            leaves them.
        most_mb: Megabytes that the shared weights may take; training takes four times as many.
    """

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 5e-3
    tune_epochs: int = 5
    most_mb: float = 500.0

    def __post_init__(self) -> None:
        at = "supernet."
        check(f"{at}epochs", self.epochs, self.epochs >= 1, "at least 1")
        check(f"{at}batch_size", self.batch_size, self.batch_size >= 4, "at least 4")
        check(f"{at}learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        check(f"{at}tune_epochs", self.tune_epochs, self.tune_epochs >= 0, "at least 0")
        check(f"{at}most_mb", self.most_mb, self.most_mb > 0, "above 0")


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """How the space is explored.

    Attributes:
        trials: Distinct architectures to evaluate, baselines not counted.
        workers: 1 evaluates in this process; more start as many processes.
        initial: Random architectures before the sampler learns.
        timeout: Duration such as 2h after which nothing new is begun; None searches on.
        stop: When the search ends though its trials are not over; None goes through all of them.
        training_limit_s: A candidate that trains for longer is infeasible; None waits for all.
        storage: Address of a study that several drivers may share: a database URL, or
            ``journal:PATH``; None keeps a journal file in the run folder.
        evaluation: What an accuracy is: "training" trains each network, "supernet" takes a slice
            of weights that all networks of the space share.
        supernet: How these are trained.
        avoid_useless: Whether a precision that is slower and no smaller than a higher one on the
            device gives way to it.
        early_stopping: None trains every candidate to the end.
        inherit: None trains every candidate from nothing.
        keep_weights: Whose trained weights stay on disk: of all networks, or of the front.
        learn_from: Folders of runs whose findings the surrogate is to learn from.
        cpus, gpus: Resources of one training on a cluster; a fraction shares one with others.
    """

    trials: int = 60
    workers: int = 1
    sampler: str = "surrogate"
    seed: int = 0
    initial: int = 20
    timeout: str | float | None = None
    stop: StopRule | None = None
    training_limit_s: float | None = None
    storage: str | None = None
    avoid_useless: bool = True
    early_stopping: EarlyStopping | None = None
    inherit: Inherit | None = None
    keep_weights: KeepWeights = "all"
    learn_from: tuple[str, ...] = ()
    cpus: float = 1.0
    gpus: float = 0.0
    evaluation: EvaluationName = "training"
    supernet: SupernetConfig = field(default_factory=SupernetConfig)

    def __post_init__(self) -> None:
        for name in ("trials", "workers", "initial"):
            check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        check("seed", self.seed, 0 <= self.seed < 2**32, "between 0 and 4294967295")
        if self.timeout is not None:
            seconds_of(self.timeout, "search.timeout")
        limit = self.training_limit_s
        check("training_limit_s", limit, limit is None or limit > 0, "above 0, or none")
        if self.storage is not None:
            check_address(self.storage)
        if self.inherit is not None and self.early_stopping is not None:
            raise UserError(
                "inherit and early_stopping exclude each other: at a rung, networks that "
                "inherited would be held against networks that did not; set one of them to null"
            )
        way, ways = self.evaluation, get_args(EvaluationName)
        check("evaluation", repr(way), way in ways, f"one of {', '.join(ways)}")
        alone = self.inherit is None or way == "training"
        check("evaluation", repr(way), alone, "training where there is inherit, or inherit null")
        known = ", ".join(SAMPLERS)
        keep, kinds = self.keep_weights, get_args(KeepWeights)
        check("keep_weights", repr(keep), keep in kinds, f"one of {', '.join(kinds)}")
        check("sampler", repr(self.sampler), self.sampler in SAMPLERS, f"one of {known}")
        runs, most = self.learn_from, f"at most {MOST_EARLIER} runs"
        check("learn_from", f"{len(runs)}", len(runs) <= MOST_EARLIER, most)
        learns = not runs or self.sampler == "surrogate"
        check("sampler", repr(self.sampler), learns, "surrogate where learn_from names runs")
        whole = "a fraction up to 1, or a whole number"
        check("cpus", self.cpus, self.cpus > 0 and is_share(self.cpus), f"above 0: {whole}")
        check("gpus", self.gpus, self.gpus >= 0 and is_share(self.gpus), f"at least 0: {whole}")


MOST_EARLIER = 10  # runs that one learns from


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


SAMPLERS: dict[str, str] = {
    "evolution": "archive evolution of whole architectures",
    "surrogate": "expected hypervolume improvement by regressions on all trials (the default)",
    "tpe": "Optuna's tree-structured Parzen estimator, multivariate",
    "nsga2": "Optuna's NSGA-II",
    "aging": "regularised evolution: of a small population, the oldest dies",
    "reinforce": "a policy over decisions, taught by MnasNet's soft reward",
    "random": "uniform in each decision",
}
