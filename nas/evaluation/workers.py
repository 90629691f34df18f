"""Workers: where candidates are evaluated, in this process or in several others.

Each worker is a `concurrent.futures` executor of its own, so a worker process that dies (out of
memory, or killed) takes one candidate with it; a new one is started, and the candidate is tried
once more.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

from nas.evaluation.early_stopping import Rungs
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments, make_source, needs_latency
from nas.models.given import check_same_models, load_whole_setting
from nas.problem.records import RunConfig
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import Setting
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.training.candidate import CandidateTraining, GivenWeights, LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from nas.training.loop import EpochReport
from search_spaces.space.architecture import from_json, graph_hash, to_json
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


class LocalWorkers:
    """Evaluates architectures on this machine, at most ``slots`` at a time.

    Use it as a context manager: leaving it ends all its processes.

    Args:
        start: Makes the executor of one slot; it is called anew where one died.
        stop_now: Ends what is running, where the block is left by an exception.
    """

    def __init__(
        self,
        slots: int,
        start: Callable[[], Executor],
        evaluate: Callable[[Mapping[str, Any]], str],
        run: RunFolder,
        stop_now: Callable[[], None] = lambda: None,
    ) -> None:
        self.slots = slots
        self._start = start
        self._evaluate = evaluate
        self._run = run
        self._stop_now = stop_now
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


def local_workers(
    config: RunConfig,
    run: RunFolder,
    evaluator: Evaluator | None,
    instruments: Instruments | None = None,
) -> LocalWorkers:
    """Returns the evaluator as the one worker, or as many processes as the configuration says.

    Args:
        instruments: What the processes find out latencies with; None takes the usual ones.
    """
    if evaluator is not None:

        def evaluate_here(architecture: Mapping[str, Any]) -> str:
            return evaluator.evaluate(from_json(architecture)).hash

        return LocalWorkers(1, InProcess, evaluate_here, run)
    context = multiprocessing.get_context("spawn")  # torch and TVM do not survive a fork
    # Nothing is ever sent: its end closes when this process lets go of it, or dies.
    ending, lifeline = context.Pipe(duplex=False)

    def start() -> Executor:
        ready = context.Event()
        given = (str(run.path), ending, instruments or Instruments(), ready)
        return InOtherProcess(1, context, start_worker, given, ready=ready)

    return LocalWorkers(config.search.workers, start, evaluate_in_process, run, lifeline.close)


class InProcess(Executor):
    """Runs each call at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":  # noqa: ANN401
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))  # an error is the caller's own, and passes through
        return future


class InOtherProcess(ProcessPoolExecutor):
    """Runs calls in a process that Ctrl-C does not reach, from its first moment on.

    A terminal sends it to every process of the search, but it is for the search to decide.

    Args:
        ready: Set by the process once it is ready for candidates; where it dies before, its calls
            fail with a `WorkerLostError` that blames no candidate.
    """

    def __init__(self, *given: Any, ready: Event | None = None) -> None:  # noqa: ANN401
        super().__init__(*given)
        self._ready = ready

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":  # noqa: ANN401
        with holding_back_interrupts():  # a process that is started here inherits that
            future = super().submit(fn, *args, **kwargs)
        return future if self._ready is None else blaming(future, self._ready.is_set)


def blaming(future: "Future[Any]", is_ready: Callable[[], bool]) -> "Future[Any]":
    """Returns a future that tells a process that died at its start from one that died at work."""
    told: Future[Any] = Future()

    def pass_on(done: "Future[Any]") -> None:
        if done.cancelled():
            told.cancel()
        elif (error := done.exception()) is None:
            told.set_result(done.result())
        elif isinstance(error, BrokenProcessPool) and not is_ready():
            reason = "its process died before it was ready (out of memory, or killed)"
            told.set_exception(WorkerLostError(reason, is_candidates_fault=False, at_start=True))
        else:
            told.set_exception(error)

    future.add_done_callback(pass_on)
    return told


@contextmanager
def holding_back_interrupts() -> Iterator[None]:
    """Lets Ctrl-C wait until the end of the block, in this thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STATE: dict[str, Any] = {}


def start_worker(
    path: str, lifeline: Connection, instruments: Instruments, ready: Event | None = None
) -> None:
    """Prepares a worker process; what it needs is loaded by its first candidate.

    An error in here would break the pool, and say nothing.
    """
    threading.Thread(target=die_with, args=(lifeline,), daemon=True).start()
    _STATE["path"] = Path(path)
    _STATE["instruments"] = instruments
    _STATE["ready"] = ready


def die_with(lifeline: Connection) -> None:
    """Ends this process when the search has gone, whatever it is doing."""
    try:
        lifeline.recv_bytes()
    except EOFError:
        os._exit(1)


def evaluate_in_process(architecture: Mapping[str, Any]) -> str:
    if "evaluator" not in _STATE:
        _STATE["evaluator"] = open_evaluator(RunFolder(_STATE["path"]), _STATE["instruments"])
        if (ready := _STATE["ready"]) is not None:
            ready.set()
    evaluator: Evaluator = _STATE["evaluator"]
    return evaluator.evaluate(from_json(architecture)).hash


def open_evaluator(run: RunFolder, instruments: Instruments) -> Evaluator:
    """Loads what a worker process needs; it is let go of when the process ends."""
    config = read_run_file(run.config_file).config()
    setting = load_whole_setting(config)
    check_same_models(run, setting)
    source = None
    if needs_latency(config):
        resources = _STATE["resources"] = ExitStack()
        measurer = resources.enter_context(instruments.measurer(config))
        source = make_source(config, run, measurer, instruments.needed_model(config))
    return Evaluator(config, local_training(config, run, setting), source, run)


def local_training(config: RunConfig, run: RunFolder, setting: Setting) -> CandidateTraining:
    """Returns what trains in this process, with the checkpoints and the rungs of the run."""
    rungs = Rungs(run, config, setting.baseline_hashes)

    def may_go_on(key: str, values: Mapping[str, float], report: EpochReport) -> bool:
        return rungs.may_go_on(key, values, report.epoch, report.scores)

    checkpoints = FolderCheckpoints(run.checkpoints)
    training = LocalTraining(
        config, setting.tensors, checkpoints, may_go_on, teacher=setting.teacher
    )
    return GivenWeights(training, setting.trained, setting.tensors.validation)
