"""Workers: evaluations in threads of the driver, which mostly wait for the cluster."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait

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
