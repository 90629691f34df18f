"""Latency: what one inference costs on one device, in milliseconds, and how that is known.

Every latency model, measured or predicted, returns a `Latency`, so the search never asks where
a number came from unless it wants to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as, shown

FORMAT = "hwnas.latency"
VERSION = 2  # version 1 had no intervals
READABLE = (1, 2)
EXTRAPOLATED = " (extrapolated)"  # stands behind the model's name in texts and files

Source = Literal["measured", "predicted"]
Failure = Literal["crashed", "timed out", "out of memory", "busy", "unreachable"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a latency was measured.

    Attributes:
        device: Name of the device.
        cpu: The processor as its maker calls it.
        runtime: What ran the network, "tvm" or "onnxruntime".
        runtime_version: Its version.
        target: The CPU that the code was compiled for; "" where the runtime chooses by itself.
        tuned: Whether TVM's tiles were chosen by timing them.
        threads: Threads that the runtime may use.
        input_shape: (batch, C, H, W).
        precision: Number formats in the network, for example "fp32".
        runs: How many inferences were timed.
        cache: "warm": each timed run follows another one of the same network.
        reference_ms: Median time of the reference kernel that ran in between.
        drift: ``reference_ms`` over the best ever seen on this machine; 1 is an idle machine.
        date: When, in UTC, as ISO 8601.
    """

    device: str
    cpu: str
    runtime: str
    runtime_version: str
    target: str
    tuned: bool
    threads: int
    input_shape: tuple[int, int, int, int]
    precision: str
    runs: int
    cache: Literal["warm"]
    reference_ms: float
    drift: float
    date: str


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds in milliseconds, and the probability with which a measurement lies between them."""

    low_ms: float
    high_ms: float
    probability: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.low_ms <= self.high_ms:
            raise ValueError(f"an interval must ascend from above 0, got {self}")
        if not 0 < self.probability < 1:
            raise ValueError(f"a probability must be in (0, 1), got {self.probability}")


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one inference.

    Attributes:
        median_ms: Median over runs, or the predicted value, in milliseconds.
        spread_ms: Interquartile range over runs, or of the prediction, in milliseconds.
        source: Whether the number was timed on the device or predicted.
        conditions: How it was measured; None where it was not measured.
        interval: Where the measured median lies with the interval's probability; None where it
            was measured.
        model: What predicted it, for example "learned"; "" where it was measured.
        extrapolated: Whether it is predicted although nothing like it was ever measured.
    """

    median_ms: float
    spread_ms: float
    source: Source
    conditions: Conditions | None = None
    interval: Interval | None = None
    model: str = ""
    extrapolated: bool = False

    def __post_init__(self) -> None:
        if not self.median_ms > 0:  # also refuses NaN
            raise ValueError(f"a latency must be positive, got {self.median_ms} ms")
        if not self.spread_ms >= 0:
            raise ValueError(f"a spread must not be negative, got {self.spread_ms} ms")

    @property
    def predicted_by(self) -> str:
        """What predicted it, and whether it had to extrapolate, for people."""
        return self.model + EXTRAPOLATED * self.extrapolated


class MeasurementError(UserError):
    """A network that could not be measured; the next one can be.

    Attributes:
        kind: What went wrong.
    """

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind: Failure = kind


class DeviceBusyError(MeasurementError):
    """The machine did other work for too long for a reading to mean anything."""

    def __init__(self, message: str) -> None:
        super().__init__("busy", message)


class NotProfiledError(UserError):
    """A kernel, precision or range that no profile of the device has; it is never guessed."""


def summarise(runs_ms: Sequence[float], conditions: Conditions | None = None) -> Latency:
    """Returns median and interquartile range of timed runs.

    >>> latency = summarise([5.0, 1.0, 3.0, 100.0, 4.0])
    >>> latency.median_ms, latency.spread_ms
    (4.0, 2.0)
    """
    low, median, high = np.percentile(runs_ms, [25, 50, 75])
    return Latency(float(median), float(high - low), "measured", conditions)


def probability_within(latency: Latency, budget_ms: float) -> float:
    """Returns the probability that a measurement is at most ``budget_ms``.

    A measured latency is 0 or 1. Of a predicted one the logarithm counts as normal, with each
    side as wide as the interval's.

    >>> predicted = Latency(2.0, 0.1, "predicted", interval=Interval(1.8, 2.2, 0.9))
    >>> round(probability_within(predicted, 2.2), 6), probability_within(predicted, 2.0)
    (0.95, 0.5)
    """
    if latency.interval is None:
        return float(latency.median_ms <= budget_ms)
    if budget_ms <= 0:
        return 0.0
    interval = latency.interval
    bound = interval.high_ms if budget_ms >= latency.median_ms else interval.low_ms
    width = abs(log(bound / latency.median_ms))
    distance = log(budget_ms / latency.median_ms)
    if width == 0:
        return float(distance >= 0)
    quantile = NormalDist().inv_cdf((1 + interval.probability) / 2)
    return NormalDist().cdf(distance / width * quantile)


def to_json(latency: Latency) -> dict[str, Any]:
    """Returns the latency as JSON-ready data."""
    data = {"format": FORMAT, "version": VERSION, **asdict(latency)}
    del data["extrapolated"]  # the model's name says it, as in every file before
    data["model"] = latency.predicted_by
    if latency.conditions is not None:
        data["conditions"]["input_shape"] = list(latency.conditions.input_shape)
    return data


def from_json(data: Mapping[str, Any]) -> Latency:
    """Returns the latency that ``data`` holds.

    Raises:
        UserError: If the data is no latency, is of another version, or misses a field.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise UserError(f"this is no latency: its 'format' must be {FORMAT!r}")
    if data.get("version") not in READABLE:
        raise UserError(
            f"latency of version {shown(data.get('version'))}; this hwnas reads versions up to "
            f"{VERSION}; upgrade hwnas"
        )
    rows = {key: value for key, value in data.items() if key not in ("format", "version")}
    model = read_as(str, rows.pop("model", ""), "model")
    name = model.removesuffix(EXTRAPOLATED)
    try:
        found: Latency = read_as(Latency, rows)
    except UserError as error:
        raise UserError(f"the latency is damaged: {error}") from None
    return replace(found, model=name, extrapolated=name != model)
