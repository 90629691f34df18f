"""Latency model: what a profiled device is predicted to take for a network, and how surely.

Predicting needs the fitted model of a device (see ``nas device profile``) and numpy; neither TVM
nor torch is imported.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.network_kernels import KernelUse, network_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.devices.latency import Interval, Latency
from latency_models.prediction.composition import Parts, fit_composition
from latency_models.prediction.known_kernels import KnownKernels
from latency_models.prediction.model_file import DeviceFit, load_fit, no_networks, save_fit
from latency_models.prediction.predictor import (
    NORMAL_WIDTH,
    PROBABILITY,
    QUARTILE,
    Explanation,
    KernelPrediction,
    error_summary,
)
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import Graph

Floats = NDArray[np.float64]
OTHER = "*"  # the group of families without a reading


class LatencyModel:
    """Predicts the latency of networks on one device, as a `Predictor`.

    Args:
        known: What is known of kernels already; None knows what ``fit`` says.
    """

    def __init__(self, fit: DeviceFit, known: KnownKernels | None = None) -> None:
        self._fit = fit
        self._places = {name: index for index, name in enumerate(fit.families)}
        self._composition = fit_composition(fit.networks.parts, fit.networks.median_ms)
        self._runtime: Runtime = fit.about["runtime"]
        self._unit = VectorUnit(**fit.about["vector_unit"])
        self.known = known or KnownKernels(
            self.device_name, self.name, fit.kernels, fit.readings, self._unit
        )

    @classmethod
    def load(cls, device: str, folder: Path | None = None) -> Self:
        """Returns the model of a profiled device.

        Raises: as `load_fit`.
        """
        return load_fit(device, folder, cls)

    def save(self, folder: Path | None = None) -> Path:
        """Writes the model into the device's profile and returns the file.

        Raises: as `save_fit`.
        """
        return save_fit(self._fit, folder)

    # What it is

    @property
    def device_name(self) -> str:
        return str(self._fit.about["device"])

    @property
    def about(self) -> Mapping[str, Any]:
        """JSON-ready: runtime, cpu, target, threads, versions, dates, counts of readings.

        "held_out" is how far predictions were off for networks of the profile that were left out.
        """
        errors = self._composition.errors
        held_out = error_summary(errors) if len(errors) else None
        networks = len(self._fit.networks.median_ms)
        return {**self._fit.about, "networks": networks, "held_out": held_out}

    @property
    def held_out_errors(self) -> Floats:
        """Predicted over measured less 1, of each network that was fitted to, without it."""
        return self._composition.errors

    @property
    def vector_unit(self) -> VectorUnit:
        """What code on the device is cut to."""
        return self._unit

    @property
    def name(self) -> str:
        """Which model of kernels it is: "learned", "lookup" or "roofline"."""
        return str(self._fit.about["model"])

    # Predictions

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        return self.latencies([graph], extrapolate=extrapolate)[0]

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        if not graphs:
            return ()
        with without_collection():  # of what is made, nothing refers to itself
            networks = [self._uses(graph) for graph in graphs]
            self.known.learn(use.kernel for uses in networks for use in uses)
            if not extrapolate:
                for uses in networks:
                    self.known.check(uses)
            far = [self.known.is_far(uses) for uses in networks]
            return self._composed(self.parts(networks), far)

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        latency = self.latency(graph, extrapolate=extrapolate)
        uses = self._uses(graph)
        rows = tuple(self._predicted(use, latency) for use in uses)
        return Explanation(latency, rows, latency.median_ms - sum(row.median_ms for row in rows))

    def refitted(self, measured: Sequence[tuple[Graph, Latency]]) -> "LatencyModel":
        """Returns a model that also knows these measured networks; this one stays as it is.

        Networks with kernels unlike any timed one are left out.
        """
        rows = []
        for graph, latency in measured:
            with suppress(UnsupportedOperatorError):
                rows.append((self._uses(graph), self.usual_ms(latency)))
        self.known.learn(use.kernel for uses, _ in rows for use in uses)
        rows = [row for row in rows if self.known.is_like_timed(row[0])]
        if not rows:
            return self
        parts = self.parts([uses for uses, _ in rows])
        networks = self._fit.networks.with_rows(parts, [ms for _, ms in rows])
        return LatencyModel(replace(self._fit, networks=networks), self.known)

    def usual_ms(self, latency: Latency) -> float:
        """Returns what a measurement would have read at the drift that is usual on the device.

        A machine that is busy elsewhere slows down the reference kernel and a network alike.
        """
        if latency.conditions is None:
            return latency.median_ms
        drift = float(self._fit.about["drift"]) / latency.conditions.drift
        return latency.median_ms * drift ** float(self._fit.about["sensitivity"])

    # Fitting

    def grouped(self, graphs: Sequence[Graph]) -> "LatencyModel":
        """Returns a model, fitted to no network yet, that tells the places in networks apart."""
        uses = [use for graph in graphs for use in self._uses(graph)]
        self.known.learn(use.kernel for use in uses)
        found = {group_name(self.known[use.kernel].family, use.place) for use in uses}
        families = (*self._fit.families, *sorted(found - {*self._fit.families}), OTHER)
        fit = replace(self._fit, families=families, networks=no_networks(families))
        return LatencyModel(fit, self.known)

    def covers(self, graph: Graph) -> bool:
        """Whether a kernel of each kind in a network was timed."""
        uses = self._uses(graph)
        self.known.learn(use.kernel for use in uses)
        return self.known.is_like_timed(uses)

    def saying(self, **about: object) -> "LatencyModel":
        """Returns a model that says more of itself."""
        return LatencyModel(replace(self._fit, about={**self._fit.about, **about}), self.known)

    def parts(self, networks: Sequence[Sequence[KernelUse]]) -> Parts:
        """Returns what networks are made of; their kernels must have been learned."""
        sums = np.zeros((len(networks), len(self._fit.families)))
        variances = np.zeros(len(networks))
        for row, uses in enumerate(networks):
            whole = square = 0.0
            for use in uses:
                known = self.known[use.kernel]
                sums[row, self._place(use)] += known.median_ms
                whole += known.median_ms
                square += (known.median_ms * known.doubt) ** 2
            variances[row] = square / whole**2
        counts = np.array([len(uses) for uses in networks], np.float64)
        return Parts(sums, counts, variances)

    # Inside

    def _uses(self, graph: Graph) -> tuple[KernelUse, ...]:
        return network_kernels(graph, self._runtime, self._unit)

    def _place(self, use: KernelUse) -> int:
        """Where a kernel's milliseconds are summed: its family's, where it stands as it does."""
        family = self.known[use.kernel].family
        place = self._places.get(group_name(family, use.place))
        if place is None:
            place = self._places.get(family, len(self._fit.families) - 1)
        return place

    def _predicted(self, use: KernelUse, latency: Latency) -> KernelPrediction:
        """Returns a kernel's part of its network's predicted latency."""
        known = self.known[use.kernel]
        ms = known.median_ms * float(self._composition.shares[self._place(use)])
        factor = float(np.exp(known.doubt * NORMAL_WIDTH))
        share = ms / latency.median_ms
        return KernelPrediction(
            use.node, known.kind, ms, ms / factor, ms * factor, known.source, share
        )

    def _composed(self, parts: Parts, far: Sequence[bool]) -> tuple[Latency, ...]:
        """Networks with kernels far from all timed ones have at least their doubt as interval."""
        composition = self._composition
        medians, doubts = composition.predict(parts), composition.doubt(parts)
        width = composition.width(PROBABILITY)
        widths = np.where(far, max(width, NORMAL_WIDTH), width)
        factors = np.exp(doubts * widths)
        quartiles = medians * doubts * 2 * QUARTILE
        return tuple(
            Latency(
                float(ms),
                float(spread),
                "predicted",
                interval=Interval(float(ms / factor), float(ms * factor), PROBABILITY),
                model=self.name,
                extrapolated=is_far,
            )
            for ms, spread, factor, is_far in zip(medians, quartiles, factors, far, strict=True)
        )


def group_name(family: str, place: str) -> str:
    return f"{family}, {place}" if place else family


@contextmanager
def without_collection() -> Iterator[None]:
    """Lets no cyclic garbage be looked for: that takes a third of a thousand predictions."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
