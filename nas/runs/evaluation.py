"""Evaluation: what was found out about one architecture, as a record and as a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from latency_models.devices import latency as latencies
from latency_models.devices.latency import Latency
from nas.problem.answers import Confusion, confusion_from_json, confusion_to_json
from nas.problem.metrics import ARCHIVE_BYTES, METRICS
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as

GUESSED, INHERITED = "~", "*"
Status = Literal["finished", "infeasible", "stopped"]
WeightsOf = Literal["own", "slice", "tuned"]
SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
NESTED = (
    "latency",
    "predicted",
    "confusion",
    "inherited",
)  # forms of their own in files


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a network had when its training began.

    Attributes:
        parent: Hash of the network whose weights it had.
        share: How much of its own weights those were, in 0..1.
    """

    parent: str
    share: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known about one architecture.

    Attributes:
        hash: The graph's hash.
        status: "infeasible" where a constraint is violated or the candidate itself failed;
            "stopped" where its training was ended early, so that its accuracy is of few epochs.
        reason: Why it is not finished, in one line; None where it is.
        values: Metric name to value, for the metrics that were reached.
        violations: Constraint to how far it is exceeded (<= 0 where it holds).
        latency: The latency that decides, with its spread: measured (and its conditions) where it
            was measured, else predicted.
        epochs: Epochs trained: the fidelity of the accuracy; 0 where it was not trained.
        accuracy_history: Validation accuracy after each epoch.
        seconds: Wall time by phase: "cost", "latency", "training".
        predicted: What a model predicted, before any measuring; None where none was asked.
        known_networks: Measured networks of the run that the prediction could learn from.
        confusion: Its answers on the validation images; None where it was not trained, or by a
            hwnas that did not keep them.
        estimated_archive_bytes: What its archive was estimated at, where it was written since and
            ``values`` have the file's size; None where they have the estimate, or neither.
        inherited: What it was trained on from; None where it was trained from nothing.
        weights: What its accuracy is of: weights trained for it alone ("own"), a slice of the
            supernet's, or a slice that was trained on ("tuned").
    """

    hash: str
    status: Status
    reason: str | None
    values: Mapping[str, float]
    violations: Mapping[str, float]
    latency: Latency | None = None
    epochs: int = 0
    accuracy_history: tuple[float, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    predicted: Latency | None = None
    known_networks: int = 0
    confusion: Confusion | None = None
    estimated_archive_bytes: int | None = None
    inherited: Heritage | None = None
    weights: WeightsOf = "own"

    @property
    def feasible(self) -> bool:
        return self.status == "finished"

    @property
    def is_predicted(self) -> bool:
        """Whether its latency is only a prediction."""
        return self.latency is not None and self.latency.source == "predicted"

    @property
    def is_archive_estimated(self) -> bool:
        """Whether the size of its archive is only an estimate."""
        return ARCHIVE_BYTES in self.values and self.estimated_archive_bytes is None

    def mark(self, metric: str) -> str:
        """Returns what stands beside a value where it is not what it seems; "" where it is.

        ``~`` is a prediction or an estimate, ``*`` what was trained on from inherited weights.
        """
        if metric in self.unsure:
            return GUESSED
        is_score = metric in METRICS and METRICS[metric].is_quality
        return INHERITED if is_score and self.inherited is not None else ""

    @property
    def unsure(self) -> frozenset[str]:
        """The metrics whose value is a prediction or an estimate, as a slice's accuracy is."""
        found = {"latency_ms": self.is_predicted, ARCHIVE_BYTES: self.is_archive_estimated}
        found |= dict.fromkeys(SCORES, self.weights == "slice")
        return frozenset(name for name, holds in found.items() if holds)


def evaluation_to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the evaluation as JSON-ready data."""
    data = {item.name: getattr(evaluation, item.name) for item in fields(evaluation)}
    for name in ("values", "violations", "seconds"):
        data[name] = dict(data[name])
    for name in ("latency", "predicted"):
        data[name] = latencies.to_json(data[name]) if data[name] else None
    if evaluation.confusion is None:
        del data["confusion"]
    else:
        data["confusion"] = confusion_to_json(evaluation.confusion)
    if evaluation.estimated_archive_bytes is None:
        del data["estimated_archive_bytes"]
    if evaluation.inherited is None:
        del data["inherited"]
    else:
        data["inherited"] = asdict(evaluation.inherited)
    if evaluation.weights == "own":
        del data["weights"]
    return data | {"accuracy_history": list(evaluation.accuracy_history)}


def evaluation_from_json(data: Mapping[str, Any]) -> Evaluation:
    """Returns the evaluation that ``data`` holds; what older files lack is at its default.

    Raises:
        UserError: If it is damaged: every number must be finite, every field of its type.
    """
    rows = read_as(Mapping[str, Any], data, "the evaluation")
    known = {item.name for item in fields(Evaluation)} - {*NESTED}
    found: Evaluation = read_as(Evaluation, {k: v for k, v in rows.items() if k in known})
    latency, predicted, confusion, inherited = (rows.get(name) for name in NESTED)
    return replace(
        found,
        latency=None if latency is None else latencies.from_json(latency),
        predicted=None if predicted is None else latencies.from_json(predicted),
        confusion=None if confusion is None else confusion_of(confusion),
        inherited=None if inherited is None else read_as(Heritage, inherited, "inherited"),
    )


def confusion_of(data: Any) -> Confusion:  # noqa: ANN401  (JSON)
    """Returns the confusion that ``data`` holds.

    Raises:
        UserError: If it is damaged.
    """
    try:
        return confusion_from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"confusion is none ({type(error).__name__}: {error})") from None
