"""Transfer: what ``nas device transfer`` does, from other devices' models to a new device's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import sleep

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.device import Device
from latency_models.devices.folders import profiles_folder
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.readings import latest
from latency_models.prediction.fitting import (
    about_readings,
    at_drift,
    current,
    network_of,
    usual_drift,
)
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import FILE, TRANSFERRED
from latency_models.profiling.profiler import Draw, Profiler, measurer_of, text_of
from latency_models.transfer.anchored import Table
from latency_models.transfer.model import MOST_SAMPLES, TransferredModel, source_table
from latency_models.transfer.model_file import Transfer, describe_source
from latency_models.transfer.profiles import Indices, learn_profiles
from latency_models.transfer.samples import choose_samples
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

Floats = NDArray[np.float64]
OnStep = Callable[[str, int], None]  # told what is next, and how many networks are measured
POOL_SIZE = 400
LEAST_SAMPLES = 5
MOST_FAILURES = 10  # networks that cannot be measured, after which something else is wrong


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a transfer did.

    Attributes:
        path: The model's file.
        chosen: How many networks were chosen to be measured.
        measured: How many of them this time.
        failures: Networks that could not be measured.
        left_out: Networks of the pool with kernels that a source never measured.
        extrapolates: Whether they had to be used all the same.
        has_own: Whether the device has a model of its own profile, which goes before this one.
    """

    model: TransferredModel
    path: Path
    chosen: int
    measured: int
    failures: int
    left_out: int
    extrapolates: bool
    has_own: bool


@dataclass(frozen=True, slots=True)
class NetworkPool:
    """Networks that may be measured, and what sources say of them."""

    texts: tuple[str, ...]
    graphs: tuple[Graph, ...]
    table: Table
    left_out: int
    extrapolates: bool


def transfer_device(
    device: Device,
    sources: Sequence[str],
    draw: Draw,
    *,
    samples: int = 20,
    seed: int = 0,
    on_step: OnStep = lambda what, measured: None,
    folder: Path | None = None,
    open_measurer: Callable[[Device], Measurer] = measurer_of,
    wait: Callable[[float], None] = sleep,
) -> TransferReport:
    """Measures a few networks on ``device``, and keeps a model that other devices' stand in for.

    Networks that were measured before are not measured again.

    Args:
        sources: Names of profiled devices.
        draw: Returns a random network of the space.
        samples: How many networks are measured.
        seed: Of the networks drawn; another one would measure others.
        folder: Where profiles are kept; None is this user's folder.

    Raises:
        UserError: If a source has no model, or the device cannot be used.
        MeasurementError: If it is gone, or too busy; what was measured is kept.
    """
    if not LEAST_SAMPLES <= samples <= MOST_SAMPLES:
        raise UserError(
            f"samples must be from {LEAST_SAMPLES} to {MOST_SAMPLES}, got {samples}; beyond, "
            f"profile the device: nas device profile {device.name}"
        )
    root = folder or profiles_folder()
    models = source_models(device.name, sources, root)
    on_step("drawing networks", 0)
    pool = draw_pool(draw, models, Random(seed), samples)
    own = root / device.name
    measuring = Measuring(own, pool, samples, seed, on_step)
    measuring.run(lambda: open_measurer(device), wait)
    on_step("fitting", samples)
    model = fit_transferred(own, models, pool)
    return TransferReport(
        model,
        model.save(root),
        samples,
        measuring.measured,
        len(measuring.failed),
        pool.left_out,
        pool.extrapolates,
        (own / FILE).is_file(),
    )


def source_models(device: str, sources: Sequence[str], root: Path) -> tuple[LatencyModel, ...]:
    """Returns the models of source devices.

    Raises:
        UserError: If there is none, one is the device itself or has no model of its own profile.
    """
    names = tuple(dict.fromkeys(sources))
    if not names:
        raise UserError("name the devices to transfer from, for example --from host,pi4")
    if device in names:
        raise UserError(
            f"device {device!r} cannot stand in for itself; name other profiled devices"
        )
    for name in names:
        if not (root / name / FILE).is_file() and (root / name / TRANSFERRED).is_file():
            raise UserError(
                f"source {name!r} is itself predicted from other devices; name these, or run nas "
                f"device profile {name}"
            )
    return tuple(LatencyModel.load(name, root) for name in names)


def draw_pool(
    draw: Draw, sources: Sequence[LatencyModel], rng: Random, samples: int, size: int = POOL_SIZE
) -> NetworkPool:
    """Returns networks that every source can predict, or extrapolated ones if too few are left.

    Raises:
        UserError: If the space has too few networks that every source can run.
    """
    drawn: dict[str, Graph] = {}
    for _ in range(size):
        graph = draw(rng)
        drawn.setdefault(text_of(graph), graph)
    texts, graphs = tuple(drawn), tuple(drawn.values())
    table, there, far = source_table(sources, graphs)
    near = np.setdiff1d(there, far)
    extrapolates = len(near) < samples
    kept = there if extrapolates else near
    if len(kept) < samples:
        raise UserError(
            f"{len(kept)} different networks of the space run on every source, {samples} samples "
            "need as many; take fewer samples or a larger space"
        )
    places = np.flatnonzero(np.isin(there, kept))
    return NetworkPool(
        tuple(texts[index] for index in kept),
        tuple(graphs[index] for index in kept),
        table.rows(places),
        len(graphs) - len(near),
        extrapolates,
    )


class Measuring:
    """Chooses networks of a pool and measures those that were not.

    Attributes:
        measured: How many were measured.
        failed: Places of networks that could not be.
    """

    def __init__(
        self, folder: Path, pool: NetworkPool, samples: int, seed: int, on_step: OnStep
    ) -> None:
        self.folder, self.pool, self.on_step = folder, pool, on_step
        self.samples, self.seed = samples, seed
        self.profiles = learn_profiles(pool.table.sources_ms, (pool.table.features,))
        self.measured = 0
        self.failed: set[int] = set()

    def run(self, open_measurer: Callable[[], Measurer], wait: Callable[[float], None]) -> None:
        """Measures until the chosen networks are known under the same conditions.

        Raises:
            UserError: If too many networks cannot be measured.
            MeasurementError: If the device is gone, or too busy.
        """
        if not self.missing():
            return  # the device need not be there
        with open_measurer() as measurer:
            profiler = Profiler(
                measurer,
                self.folder,
                self.no_draw,
                0.0,
                Random(self.seed),
                lambda _: None,
                wait=wait,
            )
            profiler.session = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            while missing := self.missing():
                done, last = max(0, self.samples - len(missing)), "compiling the first network"
                for row in missing:
                    self.on_step(last, done)
                    done, last = done + 1, self.measure(profiler, row)

    def measure(self, profiler: Profiler, row: int) -> str:
        """Measures one network and keeps the reading; returns what became of it."""
        before = profiler.networks
        last = profiler.time_network(self.pool.graphs[row])
        profiler.flush()
        if profiler.networks > before:
            self.measured += 1
            return last
        self.failed.add(row)
        if len(self.failed) > MOST_FAILURES:
            raise UserError(
                f"{len(self.failed)} networks of the space could not be measured on "
                f"{self.folder.name} ({last}); try one of them with nas latency measure"
            )
        return last

    def missing(self) -> list[int]:
        """Returns the places of chosen networks that are neither known nor failed.

        For each that failed another one is chosen; the choice goes on where it ended.
        """
        rng = np.random.default_rng(self.seed)
        count = min(self.samples + len(self.failed), len(self.pool.texts))
        chosen: Indices = choose_samples(self.profiles, count, rng)
        known = set(current(self.folder, "networks")[0]["text"])
        return [
            int(row)
            for row in chosen
            if self.pool.texts[row] not in known and int(row) not in self.failed
        ]

    @staticmethod
    def no_draw(rng: Random) -> Graph:
        raise AssertionError("networks are chosen")


def fit_transferred(
    folder: Path, sources: Sequence[LatencyModel], pool: NetworkPool
) -> TransferredModel:
    """Returns the model of all networks that were measured under the latest conditions.

    Also of networks outside the pool, as far as sources know them.

    Raises:
        UserError: If there are too few.
    """
    readings, conditions, _ = current(folder, "networks")
    drift = usual_drift(readings)
    known = latest(at_drift(readings, drift))
    times = dict(zip(known["text"], known["median_ms"], strict=True))
    chosen = [place for place, text in enumerate(pool.texts) if text in times]
    others = [text for text in times if text not in pool.texts]
    others = others[max(0, len(others) + len(chosen) - MOST_SAMPLES) :]
    table, rows = pool.table, list(chosen)
    measured_ms = [times[pool.texts[place]] for place in chosen]
    if others:
        more, there, far = source_table(sources, [network_of(text) for text in others])
        near = [p for p, i in enumerate(there) if pool.extrapolates or i not in far]
        rows += [len(pool.texts) + place for place in near]
        measured_ms += [times[others[there[place]]] for place in near]
        table = table.with_rows(more)
    about = about_readings(
        readings,
        conditions,
        model="transferred",
        sources=[describe_source(model) for model in sources],
        drift=drift,
    )
    whole = Transfer(about, tuple(sources), table, np.array(rows), np.array(measured_ms))
    return TransferredModel(whole)
