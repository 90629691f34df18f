"""Transferred model: a device known from a few measured networks and other devices' models.

It answers as `LatencyModel` does. Source devices predict a network; what they say, and coarse
features of the network, are weighed by how well they agree with the networks that were measured
(see `latency_models.transfer.anchored`). Predicting needs numpy and the sources' models.

Letters: N networks of the table, S source devices, P features, K measured networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.devices.folders import profiles_folder
from latency_models.devices.latency import Interval, Latency
from latency_models.prediction.explanation import Explanation, KernelPrediction
from latency_models.prediction.model import (
    FILE,
    NORMAL_WIDTH,
    PROBABILITY,
    TRANSFERRED,
    LatencyModel,
)
from latency_models.prediction.model_file import read_model, write_model
from latency_models.transfer.anchored import Table, fit_anchored
from latency_models.transfer.networks import NAMES, network_features
from latency_models.transfer.profiles import Indices
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph

Array = NDArray[np.float64]
EXTRAPOLATED = "(extrapolated)"
SAME = ("runtime", "target", "tuned", "threads")  # of a source, as long as a transfer holds
MOST_SAMPLES = 100  # the latest ones count; fitting takes as long as their number cubed
NUDGE = 0.01  # of a source's latencies, to see what it changes


class TransferredModel:
    """Predicts the latency of networks on one device from other devices' models.

    Args:
        about: What the model says of itself, JSON-ready.
        sources: Models of the source devices.
        table: Networks of the space, the measured ones among them.
        rows: (K,) which rows of the table were measured.
        measured_ms: (K,) what they took.

    Raises:
        UserError: If fewer than three networks were measured.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        sources: Sequence[LatencyModel],
        table: Table,
        rows: Indices,
        measured_ms: Array,
    ) -> None:
        self._about = dict(about)
        self._sources = tuple(sources)
        self._table = table
        self._rows, self._measured_ms = rows[-MOST_SAMPLES:], measured_ms[-MOST_SAMPLES:]
        self._fitted = fit_anchored(table, self._rows, self._measured_ms)

    # Files

    @classmethod
    def load(cls, device: str, folder: Path | None = None) -> Self:
        """Returns the model of a device that latency was transferred to.

        Args:
            folder: Where profiles are kept; None is this user's folder.

        Raises:
            UserError: If there is none, the file is damaged or too new, or a source device's
                model is gone or of another kind than it was.
        """
        path = (folder or profiles_folder()) / device / TRANSFERRED
        if not path.is_file():
            raise UserError(
                f"latency was never transferred to {device!r}; do so with nas device transfer "
                f"{device} --from DEVICE,DEVICE --space SPACE.yaml"
            )
        header, arrays = read_model(path)
        if header.get("features") != list(NAMES):
            raise UserError(
                f"{path} was made by another version of hwnas; run nas device transfer {device} "
                "again, what was measured is kept"
            )
        try:
            about = header["about"]
            sources = [source_model(device, said, folder) for said in about["sources"]]
            table = Table(arrays["sources_ms"], arrays["features"])
            return cls(about, sources, table, arrays["rows"], arrays["measured_ms"])
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise damaged(path, device, error) from None

    def save(self, folder: Path | None = None) -> Path:
        """Writes the model into the device's profile and returns the file.

        Raises:
            UserError: If it cannot be written.
        """
        path = (folder or profiles_folder()) / self.device_name / TRANSFERRED
        arrays = {
            "sources_ms": self._table.sources_ms,
            "features": self._table.features,
            "rows": self._rows,
            "measured_ms": self._measured_ms,
        }
        write_model(path, {"about": self._about, "features": list(NAMES)}, arrays)
        return path

    # What it is

    @property
    def device_name(self) -> str:
        return str(self._about["device"])

    @property
    def name(self) -> str:
        return str(self._about["model"])

    @property
    def about(self) -> Mapping[str, Any]:
        """JSON-ready: conditions, dates, and the sources with how much each counts.

        A source's "weight" is by how much a network is slower here if it is slower there (1: in
        proportion), its "agreement" the rank correlation with the measured networks. "held_out"
        is how far predictions were off for measured networks, each predicted from the others.
        """
        errors = self._fitted.left_out()
        agreements = self._fitted.agreements
        said = zip(self._about["sources"], self.weights(), agreements, strict=True)
        return {
            **self._about,
            "networks": len(self._rows),
            "sources": [
                {**source, "weight": weight, "agreement": agreement}
                for source, weight, agreement in said
            ],
            "held_out": {
                "mape": float(np.mean(np.abs(errors))),
                "within_10": float(np.mean(np.abs(errors) <= 0.1)),
            },
        }

    def weights(self) -> tuple[float, ...]:
        """Returns how much longer a network takes, in logarithms, per source and logarithm."""
        known = self._table.rows(self._rows)
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
        """Returns the predicted latency of ``graph`` at batch size 1.

        Args:
            extrapolate: Answer also where a source never measured the like of a kernel, with an
                interval that says so.

        Raises:
            NotProfiledError: If a source device never measured a kernel, precision or range.
            UnsupportedOperatorError: If this device or a source has no kernel for an operator.
        """
        return self.latencies([graph], extrapolate=extrapolate)[0]

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        """Returns `latency` of each graph, faster than one by one.

        Raises: as `latency`.
        """
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
        table = self._table.with_rows(Table(in_ms(said), network_features(graphs)))
        new = np.arange(len(self._table.features), len(table.features))
        return TransferredModel(
            self._about,
            self._sources,
            table,
            np.concatenate([self._rows, new]),
            np.concatenate([self._measured_ms, times]),
        )

    def usual_ms(self, latency: Latency) -> float:
        """Returns what a measurement would have read at the drift that is usual on the device."""
        if latency.conditions is None:
            return latency.median_ms
        return latency.median_ms * float(self._about["drift"]) / latency.conditions.drift

    # Inside

    def _check(self, graphs: Sequence[Graph]) -> None:
        """Raises UnsupportedOperatorError where this device's runtime lacks an operator.

        Sources of the same runtime say so themselves.
        """
        runtime: Runtime = self._about["runtime"]
        if any(model.about["runtime"] == runtime for model in self._sources):
            return
        unit: VectorUnit = self._sources[0].vector_unit
        for graph in graphs:
            network_kernels(graph, runtime, unit)


def source_model(device: str, said: Mapping[str, Any], folder: Path | None) -> LatencyModel:
    """Returns the model of a source device.

    Raises:
        UserError: If it is gone, or of networks that are run otherwise than they were.
    """
    name, again = said["device"], f"run nas device transfer {device} again"
    try:
        model = LatencyModel.load(name, folder)
    except UserError as error:
        raise UserError(f"{device!r} is predicted from other devices, but {error}") from None
    about = model.about
    for key in SAME:
        if about[key] != said[key]:
            raise UserError(
                f"{device!r} is predicted from {name!r} with {key} {said[key]}, which was "
                f"profiled with {key} {about[key]} since; {again}"
            )
    return model


def damaged(path: Path, device: str, error: Exception) -> UserError:
    return UserError(
        f"{path} is damaged ({type(error).__name__}: {error}); run nas device transfer {device} "
        "again, what was measured is kept"
    )


def describe_source(model: LatencyModel) -> dict[str, Any]:
    """Returns what a transferred model keeps of a source, JSON-ready."""
    about = model.about
    return {"device": model.device_name, **{key: about[key] for key in (*SAME, "cpu", "last")}}


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
    far = [i for i, row in zip(there, said, strict=True) if any(map(is_extrapolated, row))]
    kept = [graphs[index] for index in there]
    by_source = list(zip(*said, strict=True))
    table = Table(in_ms(by_source), network_features(kept))
    return table, np.array(there, np.intp), np.array(far, np.intp)


def in_ms(by_source: Sequence[Sequence[Latency]]) -> Array:
    """Returns (N, S) milliseconds."""
    rows = [[latency.median_ms for latency in latencies] for latencies in by_source]
    return np.array(rows, np.float64).T


def is_extrapolated(latency: Latency) -> bool:
    return latency.model.endswith(EXTRAPOLATED)


def answer(
    name: str, median_ms: float, low_ms: float, high_ms: float, said: Sequence[Latency]
) -> Latency:
    """Returns a prediction; where a source extrapolated, its doubt is added to the interval."""
    median = float(median_ms)
    low, high = min(float(low_ms), median), max(float(high_ms), median)
    far = [log_width(latency) for latency in said if is_extrapolated(latency)]
    if far:
        low = median * float(np.exp(-np.hypot(np.log(median / low), max(far))))
        high = median * float(np.exp(np.hypot(np.log(high / median), max(far))))
        name = f"{name} {EXTRAPOLATED}"
    quartiles = (high - low) / NORMAL_WIDTH * 0.6745
    return Latency(
        median, quartiles, "predicted", interval=Interval(low, high, PROBABILITY), model=name
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


def load_latency_model(device: str, folder: Path | None = None) -> LatencyModel | TransferredModel:
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


def model_files(device: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Returns the files that `load_latency_model` reads: the device's, then its sources'.

    Raises:
        UserError: If a transferred model's file is damaged or too new.
    """
    root = folder or profiles_folder()
    own, other = root / device / FILE, root / device / TRANSFERRED
    if own.is_file() or not other.is_file():
        return (own,)
    header, _ = read_model(other)
    try:
        names = [str(source["device"]) for source in header["about"]["sources"]]
    except (KeyError, TypeError) as error:
        raise damaged(other, device, error) from None
    return (other, *(root / name / FILE for name in names))
