"""Place: a Ray cluster, for a search to have its candidates evaluated there.

An evaluation runs in a thread of the driver, which mostly waits: for the actor that holds the
device, then for Ray Tune to train. So a measurement holds no training resource, and what is found
is filed in the run folder by the driver alone.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from latency_models.prediction.predictor import Predictor
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments, make_source, needs_latency
from nas.evaluation.place import OpenPlace
from nas.evaluation.ray.checks import check_nodes, check_resources
from nas.evaluation.ray.connection import Cluster
from nas.evaluation.ray.device_client import RemoteMeasurer
from nas.evaluation.ray.head_watch import Ending, watching_head
from nas.evaluation.ray.keeper import start_keeper
from nas.evaluation.ray.monitor import Reporter, Room
from nas.evaluation.ray.nodes.sources import survey
from nas.evaluation.ray.supernet import SupernetThere
from nas.evaluation.ray.trainable import (
    CHECKPOINT_EVERY_S,
    OpenTraining,
    Shared,
    open_training,
    shared_config,
)
from nas.evaluation.ray.training import TuneTraining
from nas.evaluation.ray.tune import TuneRun
from nas.evaluation.workers import ATTEMPTS, WorkerLostError, give_up
from nas.models.given.setting import load_whole_setting
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting
from nas.runs.activity import ActivityLog
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.runs.summary import data_summary
from nas.training.candidate import GivenWeights
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

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

    @property
    def is_here(self) -> bool:
        return False

    def prepare(self, config: RunConfig, /) -> Setting:
        """Loads the data here, on the CPU, and sees to it that every node has the same."""
        here = replace(config, training=replace(config.training, device="cpu"))
        setting = load_whole_setting(here)
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
        keeper = start_keeper(run, node_id, setting.baseline_hashes)
        shared = Shared(
            config=shared_config(config),
            keeper=keeper,
            folder=str(Path.cwd()),
            fingerprints=data_summary(setting.splits)["fingerprints"],
            survey=survey(),
            checkpoint_every_s=self.checkpoint_every_s,
            open_training=self.open_training,
            teacher=setting.teacher,
        )
        tuning = TuneRun(shared, config.search.cpus, config.search.gpus)
        source = make_source(config, run, measurer, model) if needs_latency(config) else None
        trained = TuneTraining(run, tuning, keeper)
        training = GivenWeights(trained, setting.trained, setting.tensors.validation)
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
                there = SupernetThere(shared, config.search.cpus, config.search.gpus)
                yield OpenPlace(workers, measurer, hurry=measurer.hurry, train_supernet=there)
            wait_s = ENDING_S
        finally:
            ending.end()
            tuning.close(wait_s)
            workers.close(THREADS_END_S)


MOST_THREADS = 4096  # evaluations under way


class RayWorkers:
    """Evaluates architectures, each in a thread that waits for the cluster."""

    def __init__(self, evaluator: Evaluator, room: Room, reporter: Reporter) -> None:
        self.evaluator = evaluator
        self.room = room
        self.reporter = reporter
        self.pool = ThreadPoolExecutor(MOST_THREADS, "evaluation")
        self._deaths: Counter[str] = Counter()
        self._futures: set[Future[str]] = set()

    @property
    def slots(self) -> int:
        """As many as the cluster trains at once, and a few more, to be measured meanwhile."""
        return min(self.room.slots, MOST_THREADS)

    def submit(self, architecture: Architecture, /) -> "Future[str]":
        future = self.pool.submit(self.evaluate, architecture)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def evaluate(self, architecture: Architecture) -> str:
        try:
            return self.evaluator.evaluate(architecture).hash
        except WorkerLostError as error:
            self._deaths[graph_hash(architecture.graph)] += error.is_candidates_fault
            raise

    def has_another_try(self, architecture: Architecture, /) -> bool:
        return self._deaths[graph_hash(architecture.graph)] < ATTEMPTS

    def give_up(self, architecture: Architecture, /) -> Evaluation:
        self.evaluator.training.forget(graph_hash(architecture.graph))
        return give_up(self.evaluator.run, architecture)

    def watch(self, activity: ActivityLog, /) -> None:
        """Has phases, nodes and the device told to ``activity`` from now on."""
        self.reporter.activity = activity

    def close(self, wait_s: float) -> None:
        """Lets go of the threads; they end as soon as what they wait for has failed."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        wait(self._futures, wait_s)
