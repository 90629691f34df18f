"""Workers: where candidates are evaluated, in this process or in several others.

Each worker is a `concurrent.futures` executor of its own, so a worker process that dies (out of
memory, or killed) takes one candidate with it; a new one is started, and the candidate is tried
once more.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.space.architecture import graph_hash, to_json
from search_spaces.space.space import Architecture

ATTEMPTS = 2  # how often a candidate is given to a worker before it counts as the culprit


class WorkerLostError(Exception):
    """The worker of a candidate is gone, and with it what it was doing.

    Attributes:
        is_candidates_fault: Whether it counts against the candidate, as a process that died under
            it does; a node or device that went away does not.
        at_start: Whether the worker was lost before it was ready for any candidate.
    """

    def __init__(self, message: str, *, is_candidates_fault: bool, at_start: bool = False) -> None:
        super().__init__(message)
        self.is_candidates_fault = is_candidates_fault
        self.at_start = at_start


class Workers(Protocol):
    """Evaluates architectures, at most ``slots`` at a time, and files each in the run folder."""

    @property
    def slots(self) -> int:
        """How many candidates may be under way at once; it may change while a search runs."""
        ...

    def submit(self, architecture: Architecture, /) -> "Future[str]":
        """Starts an evaluation; the future's result is the hash under which it is filed.

        The future fails with a `WorkerLostError` (or, of a local process, `BrokenProcessPool`)
        where the worker was lost; any other error is the search's own and ends it.
        """
        ...

    def has_another_try(self, architecture: Architecture, /) -> bool:
        """Whether an architecture whose workers were lost by its own fault may be tried again."""
        ...

    def give_up(self, architecture: Architecture, /) -> Evaluation:
        """Files an architecture that has no other try as infeasible."""
        ...


def do_nothing() -> None:
    """For workers with nothing of their own to end."""


class LocalWorkers:
    """Evaluates architectures on this machine, at most ``slots`` at a time.

    Use it as a context manager: leaving it ends all its processes.

    Args:
        start: Makes the executor of one slot; it is called anew where one died.
        stop_now: Ends what is running, where the block is left by an exception.
        hurry: Lets nothing that is running wait for a quiet machine any more.
    """

    def __init__(
        self,
        slots: int,
        start: Callable[[], Executor],
        evaluate: Callable[[Mapping[str, Any]], str],
        run: RunFolder,
        stop_now: Callable[[], None] = do_nothing,
        hurry: Callable[[], None] = do_nothing,
    ) -> None:
        self.slots = slots
        self._start = start
        self._evaluate = evaluate
        self._run = run
        self._stop_now = stop_now
        self.hurry = hurry
        self._executors = [start() for _ in range(slots)]
        self._running: list[Future[str] | None] = [None] * slots
        self._attempts: dict[str, int] = {}

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self._stop_now()
        for executor in self._executors:
            executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, architecture: Architecture) -> "Future[str]":
        """Starts an evaluation; the future's result is the hash under which it is filed.

        A slot must be free.
        """
        key = graph_hash(architecture.graph)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        slot = next(i for i, last in enumerate(self._running) if last is None or last.done())
        try:
            future = self._executors[slot].submit(self._evaluate, to_json(architecture))
        except BrokenProcessPool:
            self._executors[slot].shutdown(wait=True)
            self._executors[slot] = self._start()
            future = self._executors[slot].submit(self._evaluate, to_json(architecture))
        self._running[slot] = future
        return future

    def has_another_try(self, architecture: Architecture) -> bool:
        return self._attempts[graph_hash(architecture.graph)] < ATTEMPTS

    def give_up(self, architecture: Architecture) -> Evaluation:
        return give_up(self._run, architecture)


def give_up(run: RunFolder, architecture: Architecture) -> Evaluation:
    """Files an architecture that killed its worker every time as infeasible."""
    evaluation = Evaluation(
        hash=graph_hash(architecture.graph),
        status="infeasible",
        reason=f"its worker process died {ATTEMPTS} times (out of memory, or killed)",
        values={},
        violations={},
    )
    run.save_evaluation(architecture, evaluation, None)
    FolderCheckpoints(run.checkpoints).drop(evaluation.hash)
    return evaluation


class InProcess(Executor):
    """Runs each call at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":  # noqa: ANN401
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))  # an error is the caller's own, and passes through
        return future
