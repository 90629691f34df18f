"""Transferred model: a device known from a few measured networks and other devices' models.

It answers as `LatencyModel` does. Source devices predict a network; what they say, and coarse
features of the network, are weighed by how well they agree with the networks that were measured
(see `latency_models.transfer.anchored`). Predicting needs numpy and the sources' models.

Letters: N networks of the table, S source devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.device import Runtime
from latency_models.devices.folders import profiles_folder
from latency_models.devices.latency import Interval, Latency
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import FILE, TRANSFERRED
from latency_models.prediction.predictor import (
    NORMAL_WIDTH,
    PROBABILITY,
    QUARTILE,
    Explanation,
    KernelPrediction,
    Predictor,
    error_summary,
)
from latency_models.transfer.anchored import Table, fit_anchored
from latency_models.transfer.model_file import Transfer, load_transfer, save_transfer
from latency_models.transfer.networks import network_features
from latency_models.transfer.profiles import Indices
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph

Array = NDArray[np.float64]
MOST_SAMPLES = 100  # the latest ones count; fitting takes as long as their number cubed
NUDGE = 0.01  # of a source's latencies, to see what it changes


class TransferredModel:
    """Predicts the latency of networks on one device from other devices', as a `Predictor`.

    Raises:
        UserError: If fewer than three networks were measured.
    """

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = known = transfer.latest(MOST_SAMPLES)
        self._sources = known.sources
        self._fitted = fit_anchored(known.table, known.rows, known.measured_ms)

    @classmethod
    def load(cls, device: str, folder: Path | None = None) -> Self:
        """Returns the model of a device that latency was transferred to.

        Raises: as `load_transfer`.
        """
        return load_transfer(device, folder, cls)

    def save(self, folder: Path | None = None) -> Path:
        """Writes the model into the device's profile and returns the file.

        Raises: as `save_transfer`.
        """
        return save_transfer(self._transfer, folder)

    # What it is

    @property
    def name(self) -> str:
        return str(self._transfer.about["model"])

    @property
    def about(self) -> Mapping[str, Any]:
        """JSON-ready: conditions, dates, and the sources with how much each counts.

        A source's "weight" is by how much a network is slower here if it is slower there (1: in
        proportion), its "agreement" the rank correlation with the measured networks. "held_out"
        is how far predictions were off for measured networks, each predicted from the others.
        """
        about = self._transfer.about
        said = zip(about["sources"], self.weights(), self._fitted.agreements, strict=True)
        return {
            **about,
            "networks": len(self._transfer.rows),
            "sources": [
                {**source, "weight": weight, "agreement": agreement}
                for source, weight, agreement in said
            ],
            "held_out": error_summary(self._fitted.left_out()),
        }

    def weights(self) -> tuple[float, ...]:
        """Returns how much longer a network takes, in logarithms, per source and logarithm."""
        known = self._transfer.table.rows(self._transfer.rows)
        usual = self._fitted.predict(known).median_ms
        found = []
        for source in range(len(self._sources)):
            slower = known.sources_ms.copy()
            slower[:, source] *= 1 + NUDGE
            times = self._fitted.predict(replace(known, sources_ms=slower)).median_ms / usual
            found.append(float(np.mean(np.log(times)) / np.log1p(NUDGE)))
        return tuple(found)

    # Predictions

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        return self.latencies([graph], extrapolate=extrapolate)[0]

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        if not graphs:
            return ()
        self._check(graphs)
        said = [model.latencies(graphs, extrapolate=extrapolate) for model in self._sources]
        found = self._fitted.predict(Table(in_ms(said), network_features(graphs)))
        return tuple(
            answer(self.name, *row, [latencies[index] for latencies in said])
            for index, row in enumerate(zip(*found, strict=True))
        )

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        """Returns the predicted latency with each kernel's part: the best source's, in proportion.

        Raises: as `latency`.
        """
        latency = self.latency(graph, extrapolate=extrapolate)
        best = self._sources[self._fitted.best]
        there = best.explain(graph, extrapolate=extrapolate)
        ratio = latency.median_ms / there.latency.median_ms
        factor = log_width(latency)
        kernels = tuple(transferred(kernel, ratio, factor) for kernel in there.kernels)
        return Explanation(latency, kernels, there.overhead_ms * ratio)

    def refitted(self, measured: Sequence[tuple[Graph, Latency]]) -> "TransferredModel":
        """Returns a model that also knows these measured networks; this one stays as it is.

        Networks that a source cannot predict are left out.
        """
        graphs, times = [], []
        for graph, latency in measured:
            try:
                self.latency(graph)
            except UserError:
                continue
            graphs.append(graph)
            times.append(self.usual_ms(latency))
        if not graphs:
            return self
        said = [model.latencies(graphs) for model in self._sources]
        table = Table(in_ms(said), network_features(graphs))
        return TransferredModel(self._transfer.with_rows(table, times))

    def usual_ms(self, latency: Latency) -> float:
        """Returns what a measurement would have read at the drift that is usual on the device."""
        if latency.conditions is None:
            return latency.median_ms
        return latency.median_ms * float(self._transfer.about["drift"]) / latency.conditions.drift

    def _check(self, graphs: Sequence[Graph]) -> None:
        """Raises UnsupportedOperatorError where this device's runtime lacks an operator.

        Sources of the same runtime say so themselves.
        """
        runtime: Runtime = self._transfer.about["runtime"]
        if any(model.about["runtime"] == runtime for model in self._sources):
            return
        for graph in graphs:
            network_kernels(graph, runtime, self._sources[0].vector_unit)


def source_table(
    sources: Sequence[LatencyModel], graphs: Sequence[Graph]
) -> tuple[Table, Indices, Indices]:
    """Returns what sources say of networks, which these are, and which of them are extrapolated.

    Networks with an operator that a source lacks are left out. Every place counts ``graphs``.
    """
    there, said = [], []
    for index, graph in enumerate(graphs):
        try:
            said.append([model.latency(graph, extrapolate=True) for model in sources])
        except UnsupportedOperatorError:
            continue
        there.append(index)
    far = [i for i, row in zip(there, said, strict=True) if any(each.extrapolated for each in row)]
    kept = [graphs[index] for index in there]
    by_source = list(zip(*said, strict=True))
    table = Table(in_ms(by_source), network_features(kept))
    return table, np.array(there, np.intp), np.array(far, np.intp)


def in_ms(by_source: Sequence[Sequence[Latency]]) -> Array:
    """Returns (N, S) milliseconds."""
    rows = [[latency.median_ms for latency in latencies] for latencies in by_source]
    return np.array(rows, np.float64).T


def answer(
    name: str, median_ms: float, low_ms: float, high_ms: float, said: Sequence[Latency]
) -> Latency:
    """Returns a prediction; where a source extrapolated, its doubt is added to the interval."""
    median = float(median_ms)
    low, high = min(float(low_ms), median), max(float(high_ms), median)
    far = [log_width(latency) for latency in said if latency.extrapolated]
    if far:
        low = median * float(np.exp(-np.hypot(np.log(median / low), max(far))))
        high = median * float(np.exp(np.hypot(np.log(high / median), max(far))))
    return Latency(
        median,
        (high - low) / NORMAL_WIDTH * QUARTILE,
        "predicted",
        interval=Interval(low, high, PROBABILITY),
        model=name,
        extrapolated=bool(far),
    )


def log_width(latency: Latency) -> float:
    """Returns how far up the interval of a prediction reaches, in logarithms."""
    assert latency.interval is not None
    return float(np.log(latency.interval.high_ms / latency.median_ms))


def transferred(kernel: KernelPrediction, ratio: float, width: float) -> KernelPrediction:
    """Returns a source's part of a network as this device's: as doubtful, and transferred."""
    wide = float(np.exp(np.hypot(np.log(kernel.high_ms / kernel.median_ms), width)))
    ms = kernel.median_ms * ratio
    return replace(kernel, median_ms=ms, low_ms=ms / wide, high_ms=ms * wide, source="transferred")


def load_latency_model(device: str, folder: Path | None = None) -> Predictor:
    """Returns the model that was fitted to a device's own profile, else the transferred one.

    Args:
        folder: Where profiles are kept; None is this user's folder.

    Raises:
        UserError: If the device has neither, or a file is damaged or too new.
    """
    place = (folder or profiles_folder()) / device
    if not (place / FILE).is_file() and (place / TRANSFERRED).is_file():
        return TransferredModel.load(device, folder)
    return LatencyModel.load(device, folder)
