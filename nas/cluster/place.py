"""Place: a Ray cluster, for a search to have its candidates evaluated there.

An evaluation runs in a thread of the driver, which mostly waits: for the actor that holds the
device, then for Ray Tune to train. So a measurement holds no training resource, and what is found
is filed in the run folder by the driver alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from nas.cluster.checks import check_nodes, check_resources
from nas.cluster.connection import Cluster
from nas.cluster.head_watch import Ending, watching_head
from nas.cluster.keeper import start_keeper
from nas.cluster.remote_measurer import RemoteMeasurer
from nas.cluster.reporting import Reporter
from nas.cluster.room import Room
from nas.cluster.sources import survey
from nas.cluster.trainable import (
    CHECKPOINT_EVERY_S,
    OpenTraining,
    Shared,
    open_training,
    shared_config,
)
from nas.cluster.tune_run import TuneRun
from nas.cluster.tune_training import TuneTraining
from nas.cluster.workers import RayWorkers
from nas.config import RunConfig
from nas.data.summary import data_summary
from nas.evaluator import Evaluator
from nas.instruments import Instruments, make_source, needs_latency
from nas.latency_source import Predictor
from nas.places import OpenPlace
from nas.run_folder import RunFolder
from nas.setting import Setting, baseline_hashes, load_setting

ENDING_S = 30.0  # for Tune to end by itself
THREADS_END_S = 5.0  # for the threads of evaluations that nobody waits for


@dataclass(frozen=True, slots=True)
class RayPlace:
    """A Ray cluster that this process is connected to.

    Attributes:
        instruments: What the device's actor measures with.
        most_trainings: At once; None takes all the room that the cluster has.
        checkpoint_every_s: Least seconds between two checkpoints of a training.
        open_training: Makes what trains on a node.
    """

    cluster: Cluster
    instruments: Instruments
    most_trainings: int | None = None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    open_training: OpenTraining = open_training

    def prepare(self, config: RunConfig, /) -> Setting:
        """Loads the data here, on the CPU, and sees to it that every node has the same."""
        here = replace(config, training=replace(config.training, device="cpu"))
        setting = load_setting(here)
        check_resources(self.cluster, config)
        check_nodes(self.cluster, config, data_summary(setting.splits)["fingerprints"])
        return setting

    @contextmanager
    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> Iterator[OpenPlace]:
        ending = Ending()
        node_id = self.cluster.this_node_id
        measurer = RemoteMeasurer(config, node_id, self.instruments, ending)
        keeper = start_keeper(run, node_id, baseline_hashes(config, setting.space))
        shared = Shared(
            config=shared_config(config),
            keeper=keeper,
            folder=str(Path.cwd()),
            fingerprints=data_summary(setting.splits)["fingerprints"],
            survey=survey(),
            checkpoint_every_s=self.checkpoint_every_s,
            open_training=self.open_training,
        )
        tuning = TuneRun(shared, config.search.cpus, config.search.gpus)
        source = make_source(config, run, measurer, model) if needs_latency(config) else None
        training = TuneTraining(run, tuning, keeper)
        evaluator = Evaluator(config, training, source, run)
        room = Room(config, self.most_trainings)
        reporter = Reporter(
            *(self.cluster.address, room, tuning.jobs, measurer, keeper),
            measures=needs_latency(config),
        )
        workers = RayWorkers(evaluator, room, reporter)
        tuning.start()
        wait_s = 0.0
        try:
            with reporter.reporting(), watching_head(self.cluster.address, tuning.jobs, ending):
                yield OpenPlace(workers, measurer)
            wait_s = ENDING_S
        finally:
            ending.end()
            tuning.close(wait_s)
            workers.close(THREADS_END_S)
