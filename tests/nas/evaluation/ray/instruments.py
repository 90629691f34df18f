"""Measurers for searches on a cluster, whose times depend on the network; and fatal loading."""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from latency_models.devices.latency import Latency, MeasurementError
from latency_models.measurement.measurer import KernelLatency
from nas.evaluation.ray.trainable import Shared, open_training
from nas.problem.records import RunConfig
from nas.training.candidate import CandidateTraining, MayGoOn
from nas.training.checkpoints import Checkpoints
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.runs import CONDITIONS

HANG_S = 3600.0


@dataclass(frozen=True)
class Slow:
    """Opens measurers that take their time, and leave in a folder what they are at.

    Attributes:
        first_takes_s: What the first measurement of all takes, which is not tried again.
        fails: Whether compiling every other network takes too long.
        cpu: What the measurements say of the machine.
    """

    folder: str
    takes_s: float = 0.2
    first_takes_s: float = 0.2
    fails: bool = False
    cpu: str = CONDITIONS.cpu

    def __call__(self, config: RunConfig) -> "Slow":
        return self

    def __enter__(self) -> "Slow":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing was opened."""

    @property
    def device_name(self) -> str:
        return "host"

    def latency(self, graph: Graph) -> Latency:
        key = graph_hash(graph)
        with alone(Path(self.folder), key):
            sleep(self.first_takes_s if is_first(Path(self.folder)) else self.takes_s)
        if self.fails and int(key, 16) % 2:
            raise MeasurementError("timed out", "compile on host took more than 120 s")
        return Latency(network_cost(graph).macs / 1e6, 0.0, "measured", CONDITIONS)

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        raise NotImplementedError


@dataclass(frozen=True)
class Opening:
    """Loads the data in an actor as always, but for the first processes that try: they are killed.

    Attributes:
        folder: Where each leaves a file.
        deaths: How many are killed.
    """

    folder: str
    deaths: int = 0

    def __call__(
        self, shared: Shared, checkpoints: Checkpoints, may_go_on: MayGoOn
    ) -> CandidateTraining:
        for number in range(self.deaths):
            with suppress(FileExistsError):
                (Path(self.folder) / f"opening {number}").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return open_training(shared, checkpoints, may_go_on)


def is_first(folder: Path) -> bool:
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def alone(folder: Path, key: str) -> Iterator[None]:
    """Leaves the process and the network in ``measuring``, and complains in ``two`` of company."""
    mark = folder / "measuring"
    other = mark.read_text().split() if mark.exists() else []
    if other and int(other[0]) != os.getpid() and Path(f"/proc/{other[0]}").exists():
        (folder / "two").touch()
    mark.write_text(f"{os.getpid()} {key}")
    with (folder / "measured").open("a") as file:
        file.write(f"{key}\n")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
