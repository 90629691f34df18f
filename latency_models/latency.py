"""Latency: what one inference costs on one device, in milliseconds, and how that is known.

Every latency model, measured or predicted, returns a `Latency`, so the search never asks where
a number came from unless it wants to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np

from search_spaces.errors import UserError
from search_spaces.graph import Graph

FORMAT = "hwnas.latency"
VERSION = 1

Source = Literal["measured", "predicted"]
Failure = Literal["crashed", "timed out", "out of memory", "busy"]


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
class Latency:
    """Latency of one inference.

    Attributes:
        median_ms: Median over runs, or the predicted value, in milliseconds.
        spread_ms: Interquartile range over runs, or the predictor's error, in milliseconds.
        source: Whether the number was timed on the device or predicted.
        conditions: How it was measured; None where it was not measured.
    """

    median_ms: float
    spread_ms: float
    source: Source
    conditions: Conditions | None = None

    def __post_init__(self) -> None:
        if not self.median_ms > 0:  # also refuses NaN
            raise ValueError(f"a latency must be positive, got {self.median_ms} ms")
        if not self.spread_ms >= 0:
            raise ValueError(f"a spread must not be negative, got {self.spread_ms} ms")


class LatencyModel(Protocol):
    """Answers one question: how long does this network take on this device?"""

    @property
    def device_name(self) -> str: ...

    def latency(self, graph: Graph) -> Latency:
        """Returns the latency of ``graph`` at batch size 1.

        Raises:
            UnsupportedOperatorError: If the device cannot run, or the predictor never saw, an
                operator of ``graph``. Never returns a guess instead.
            MeasurementError: If this network could not be measured.
        """
        ...


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


def summarise(runs_ms: Sequence[float], conditions: Conditions | None = None) -> Latency:
    """Returns median and interquartile range of timed runs.

    >>> latency = summarise([5.0, 1.0, 3.0, 100.0, 4.0])
    >>> latency.median_ms, latency.spread_ms
    (4.0, 2.0)
    """
    low, median, high = np.percentile(runs_ms, [25, 50, 75])
    return Latency(float(median), float(high - low), "measured", conditions)


def to_json(latency: Latency) -> dict[str, Any]:
    """Returns the latency as JSON-ready data."""
    data = {"format": FORMAT, "version": VERSION, **asdict(latency)}
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
    if data.get("version") != VERSION:
        raise UserError(
            f"latency of version {data.get('version')!r}; this hwnas reads version {VERSION}; "
            "upgrade hwnas"
        )
    fields = {key: value for key, value in data.items() if key not in ("format", "version")}
    try:
        if (conditions := fields["conditions"]) is not None:
            shape = tuple(conditions["input_shape"])
            fields["conditions"] = Conditions(**{**conditions, "input_shape": shape})
        return Latency(**fields)
    except (KeyError, TypeError) as error:
        raise UserError(f"the latency is damaged: {type(error).__name__} {error}") from None
