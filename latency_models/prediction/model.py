"""Latency model: what a profiled device is predicted to take for a network, and how surely.

Predicting needs the fitted model of a device (see ``nas device profile``) and numpy; neither TVM
nor torch is imported.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.network_kernels import KernelUse, network_kernels
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.devices.folders import profiles_folder
from latency_models.devices.latency import Interval, Latency
from latency_models.prediction.composition import Parts, fit_composition
from latency_models.prediction.explanation import Explanation, KernelPrediction
from latency_models.prediction.features import FEATURES, TERMS
from latency_models.prediction.known_kernels import KnownKernels
from latency_models.prediction.model_file import (
    Arrays,
    KernelModel,
    kernel_model_of,
    kernel_model_parts,
    read_model,
    write_model,
)
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph

Floats = NDArray[np.float64]
FILE = "model.npz"
OTHER = "*"  # the group of families without a reading
TRANSFERRED = "transferred.npz"  # of a device that other devices' models stand in for
COLUMNS = [*TERMS, *FEATURES]  # a model means nothing to other ones
PROBABILITY = 0.9
NORMAL_WIDTH = 1.645  # of a normal distribution, in standard deviations, at that probability


@dataclass(frozen=True, slots=True, eq=False)
class FittedNetworks:
    """The networks that a composition was fitted to."""

    parts: Parts
    median_ms: Floats


def no_networks(families: Sequence[str]) -> FittedNetworks:
    """What a composition is fitted to before any network was measured."""
    none = np.zeros(0)
    return FittedNetworks(Parts(np.zeros((0, len(families))), none, none), none)


class LatencyModel:
    """Predicts the latency of networks on one device.

    Args:
        about: What the model says of itself, JSON-ready.
        readings: Milliseconds and relative spread of timed kernels, by the key of their text.
        families: Names of what a network's kernels are summed by, the last of all others.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        kernels: KernelModel,
        readings: Mapping[str, tuple[float, float]],
        families: tuple[str, ...],
        networks: FittedNetworks,
    ) -> None:
        self._about = dict(about)
        self._kernels = kernels
        self._readings = readings
        self._families = families
        self._places = {name: index for index, name in enumerate(families)}
        self._networks = networks
        self._composition = fit_composition(networks.parts, networks.median_ms)
        self._device, self._name = str(about["device"]), str(about["model"])
        self._runtime: Runtime = about["runtime"]
        self._unit = VectorUnit(**about["vector_unit"])
        self.known = KnownKernels(self._device, self._name, kernels, readings, self._unit)

    # Files

    @classmethod
    def load(cls, device: str, folder: Path | None = None) -> Self:
        """Returns the model of a profiled device.

        Args:
            folder: Where profiles are kept; None is this user's folder.

        Raises:
            UserError: If the device was never profiled, or the file is damaged or too new.
        """
        path = (folder or profiles_folder()) / device / FILE
        if not path.is_file():
            known = ", ".join(devices_with(FILE, folder)) or "none so far"
            raise UserError(
                f"device {device!r} has no latency model (profiled devices: {known}); make one "
                f"with nas device profile {device} --space SPACE.yaml"
            )
        header, arrays = read_model(path)
        if header.get("columns") != COLUMNS:
            raise UserError(
                f"{path} was fitted by another version of hwnas; fit it again with nas device fit "
                f"{device}"
            )
        try:
            return cls(
                header["about"],
                kernel_model_of(header["kernels"], arrays),
                dict(
                    zip(
                        header["keys"],
                        zip(arrays["readings"], arrays["spreads"], strict=True),
                        strict=True,
                    )
                ),
                tuple(header["groups"]),
                FittedNetworks(
                    Parts(arrays["sums"], arrays["counts"], arrays["variances"]),
                    arrays["networks"],
                ),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}); remove it and run nas "
                "device profile again"
            ) from None

    def save(self, folder: Path | None = None) -> Path:
        """Writes the model into the device's profile and returns the file.

        Raises:
            UserError: If it cannot be written.
        """
        path = (folder or profiles_folder()) / self.device_name / FILE
        kernels, arrays = kernel_model_parts(self._kernels)
        parts = self._networks.parts
        own: Arrays = {
            "readings": np.array([ms for ms, _ in self._readings.values()], np.float64),
            "spreads": np.array([spread for _, spread in self._readings.values()], np.float64),
            "sums": parts.sums_ms,
            "counts": parts.counts,
            "variances": parts.variances,
            "networks": self._networks.median_ms,
        }
        header = {
            "about": self._about,
            "kernels": kernels,
            "keys": list(self._readings),
            "groups": list(self._families),
            "columns": COLUMNS,
        }
        write_model(path, header, arrays | own)
        return path

    # What it is

    @property
    def device_name(self) -> str:
        return self._device

    @property
    def about(self) -> Mapping[str, Any]:
        """JSON-ready: runtime, cpu, target, threads, versions, dates, counts of readings.

        "held_out" is how far predictions were off for networks of the profile that were left out.
        """
        errors = self._composition.errors
        held_out = None
        if len(errors):
            held_out = {
                "mape": float(np.mean(np.abs(errors))),
                "within_10": float(np.mean(np.abs(errors) <= 0.1)),
            }
        networks = len(self._networks.median_ms)
        return {**self._about, "networks": networks, "held_out": held_out}

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
        return self._name

    # Predictions

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        """Returns the predicted latency of ``graph`` at batch size 1.

        Args:
            extrapolate: Answer also where nothing like a kernel was measured, with an interval
                that says so.

        Raises:
            NotProfiledError: If a kernel, precision or range was never measured; the message
                names it and says how to profile it.
            UnsupportedOperatorError: If the device has no kernel for an operator.
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
        with without_collection():  # of what is made, nothing refers to itself
            networks = [self._uses(graph) for graph in graphs]
            self.known.learn(use.kernel for uses in networks for use in uses)
            if not extrapolate:
                for uses in networks:
                    self.known.check(uses)
            far = [self.known.is_far(uses) for uses in networks]
            return self._composed(self.parts(networks), far)

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        """Returns the predicted latency with each kernel's part.

        Raises: as `latency`.
        """
        latency = self.latency(graph, extrapolate=extrapolate)
        uses = self._uses(graph)
        factor = np.exp(np.array([self.known[use.kernel].doubt for use in uses]) * NORMAL_WIDTH)
        times = [self._counted_ms(use) for use in uses]
        rows = tuple(
            KernelPrediction(
                use.node,
                self.known[use.kernel].kind,
                ms,
                ms / float(wide),
                ms * float(wide),
                self.known[use.kernel].source,
                ms / latency.median_ms,
            )
            for use, ms, wide in zip(uses, times, factor, strict=True)
        )
        return Explanation(latency, rows, latency.median_ms - sum(times))

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
        parts, old = self.parts([uses for uses, _ in rows]), self._networks
        networks = FittedNetworks(
            Parts(
                np.concatenate([old.parts.sums_ms, parts.sums_ms]),
                np.concatenate([old.parts.counts, parts.counts]),
                np.concatenate([old.parts.variances, parts.variances]),
            ),
            np.concatenate([old.median_ms, [ms for _, ms in rows]]),
        )
        return self._with(networks=networks)

    def usual_ms(self, latency: Latency) -> float:
        """Returns what a measurement would have read at the drift that is usual on the device.

        A machine that is busy elsewhere slows down the reference kernel and a network alike.
        """
        if latency.conditions is None:
            return latency.median_ms
        drift = float(self._about["drift"]) / latency.conditions.drift
        return latency.median_ms * drift ** float(self._about["sensitivity"])

    # Inside

    def _uses(self, graph: Graph) -> tuple[KernelUse, ...]:
        return network_kernels(graph, self._runtime, self._unit)

    def _place(self, use: KernelUse) -> int:
        """Where a kernel's milliseconds are summed: its family's, where it stands as it does."""
        family = self.known[use.kernel].family
        place = self._places.get(group_name(family, use.place))
        if place is None:
            place = self._places.get(family, len(self._families) - 1)
        return place

    def grouped(self, graphs: Sequence[Graph]) -> "LatencyModel":
        """Returns a model, fitted to no network yet, that tells the places in networks apart."""
        uses = [use for graph in graphs for use in self._uses(graph)]
        self.known.learn(use.kernel for use in uses)
        found = {group_name(self.known[use.kernel].family, use.place) for use in uses}
        families = (*self._families, *sorted(found - {*self._families}), OTHER)
        return self._with(families=families, networks=no_networks(families))

    def covers(self, graph: Graph) -> bool:
        """Whether a kernel of each kind in a network was timed."""
        uses = self._uses(graph)
        self.known.learn(use.kernel for use in uses)
        return self.known.is_like_timed(uses)

    def saying(self, **about: object) -> "LatencyModel":
        """Returns a model that says more of itself."""
        return self._with(about={**self._about, **about})

    def _with(
        self,
        about: Mapping[str, Any] | None = None,
        families: tuple[str, ...] | None = None,
        networks: FittedNetworks | None = None,
    ) -> "LatencyModel":
        """Returns a model with some parts changed; what it knows of kernels stays the same."""
        made = LatencyModel(
            about or self._about,
            self._kernels,
            self._readings,
            families or self._families,
            networks or self._networks,
        )
        made.known = self.known
        return made

    def _counted_ms(self, use: KernelUse) -> float:
        known = self.known[use.kernel]
        return known.median_ms * float(self._composition.shares[self._place(use)])

    def parts(self, networks: Sequence[Sequence[KernelUse]]) -> Parts:
        """Returns what networks are made of; their kernels must have been learned."""
        sums = np.zeros((len(networks), len(self._families)))
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

    def _composed(self, parts: Parts, far: Sequence[bool]) -> tuple[Latency, ...]:
        """Networks with kernels far from all timed ones have at least their doubt as interval."""
        composition = self._composition
        medians, doubts = composition.predict(parts), composition.doubt(parts)
        width = composition.width(PROBABILITY)
        widths = np.where(far, max(width, NORMAL_WIDTH), width)
        factors = np.exp(doubts * widths)
        quartiles = medians * doubts * 2 * 0.6745
        return tuple(
            Latency(
                float(ms),
                float(spread),
                "predicted",
                interval=Interval(float(ms / factor), float(ms * factor), PROBABILITY),
                model=f"{self.name} (extrapolated)" if is_far else self.name,
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


def profiled_devices(folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the devices that have a model, fitted or transferred."""
    return tuple(sorted({*devices_with(FILE, folder), *devices_with(TRANSFERRED, folder)}))


def devices_with(file: str, folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the devices whose profile has a file."""
    return tuple(
        sorted(path.parent.name for path in (folder or profiles_folder()).glob(f"*/{file}"))
    )
