"""Workers: evaluations in threads of the driver, which mostly wait for the cluster."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

from nas.activity import ActivityLog
from nas.cluster.reporting import Reporter
from nas.cluster.room import Room
from nas.evaluation import Evaluation
from nas.evaluator import Evaluator
from nas.workers import ATTEMPTS, WorkerLostError, give_up
from search_spaces.architecture import graph_hash
from search_spaces.space import Architecture

MOST_THREADS = 4096  # evaluations under way


class RayWorkers:
    """Evaluates architectures, each in a thread that waits for the cluster."""

    def __init__(self, evaluator: Evaluator, room: Room, reporter: Reporter) -> None:
        self.evaluator = evaluator
        self.room = room
        self.reporter = reporter
        self.pool = ThreadPoolExecutor(MOST_THREADS, "evaluation")
        self._deaths: Counter[str] = Counter()

    @property
    def slots(self) -> int:
        """As many as the cluster trains at once, and a few more, to be measured meanwhile."""
        return min(self.room.slots, MOST_THREADS)

    def submit(self, architecture: Architecture, /) -> "Future[str]":
        return self.pool.submit(self.evaluate, architecture)

    def evaluate(self, architecture: Architecture) -> str:
        try:
            return self.evaluator.evaluate(architecture).hash
        except WorkerLostError as error:
            self._deaths[graph_hash(architecture.graph)] += error.is_candidates_fault
            raise

    def has_another_try(self, architecture: Architecture, /) -> bool:
        return self._deaths[graph_hash(architecture.graph)] < ATTEMPTS

    def give_up(self, architecture: Architecture, /) -> Evaluation:
        return give_up(self.evaluator.run, architecture)

    def watch(self, activity: ActivityLog, /) -> None:
        """Has phases, nodes and the device told to ``activity`` from now on."""
        self.reporter.activity = activity

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
