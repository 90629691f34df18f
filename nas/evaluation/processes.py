"""Worker processes: candidates evaluated beside each other on this machine.

Ctrl-C does not reach them: what it means is the search's to decide. None outlives the search.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from latency_models.devices.lock import making_way
from nas.evaluation.early_stopping import Rungs
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments, make_source, needs_latency
from nas.evaluation.latency import hurry
from nas.evaluation.workers import InProcess, LocalWorkers, WorkerLostError
from nas.models.given.setting import check_same_models, load_whole_setting
from nas.problem.records import RunConfig
from nas.problem.run_file import read_kept_file
from nas.problem.search_problem import Setting
from nas.runs.folder import RunFolder
from nas.training.candidate import (
    CandidateTraining,
    GivenWeights,
    LocalTraining,
)
from nas.training.checkpoints import FolderCheckpoints
from nas.training.inheritance.parents import parents_in
from nas.training.kept_state import CHECKPOINT_EVERY_S
from nas.training.loop import EpochReport, go_on
from nas.training.supernet.candidate import SupernetTraining
from nas.training.supernet.state import read_bounded
from nas.training.supernet.training import SupernetPlan, SupernetReport, trained_file
from search_spaces.space.architecture import from_json


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
    lifelines = Lifelines(context)

    def start() -> Executor:
        ready = context.Event()
        given = (str(run.path), lifelines.tie(), instruments or Instruments(), ready)
        return InOtherProcess(1, context, start_worker, given, ready=ready)

    count = config.search.workers
    return LocalWorkers(
        *(count, start, evaluate_in_process, run),
        stop_now=lifelines.cut,
        hurry=lifelines.hurry,
    )


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


HURRY = b"hurry"


class Lifelines:
    """What worker processes hang on: they end where it is cut, and hear by it that time is short.

    This process dying cuts it too.
    """

    def __init__(self, context: SpawnContext) -> None:
        self._context = context
        self._ends: list[Connection] = []
        self._hurried = False

    def tie(self) -> Connection:
        """Returns the end that another process is to hold."""
        ending, lifeline = self._context.Pipe(duplex=False)
        self._ends.append(lifeline)
        if self._hurried:
            lifeline.send_bytes(HURRY)
        return ending

    def hurry(self) -> None:
        """Lets the processes wait for no quiet machine any more, also those that come later."""
        self._hurried = True
        for lifeline in self._ends:
            with suppress(OSError):  # it is cut already
                lifeline.send_bytes(HURRY)

    def cut(self) -> None:
        for lifeline in self._ends:
            lifeline.close()


_STATE: dict[str, Any] = {}


def start_worker(
    path: str, lifeline: Connection, instruments: Instruments, ready: Event | None = None
) -> None:
    """Prepares a worker process; what it needs is loaded by its first candidate.

    An error in here would break the pool, and say nothing.
    """
    threading.Thread(target=live_by, args=(lifeline,), daemon=True).start()
    _STATE["path"] = Path(path)
    _STATE["instruments"] = instruments
    _STATE["ready"] = ready


def live_by(lifeline: Connection) -> None:
    """Ends this process once the search is gone, whatever it does; hurries when it is told."""
    try:
        while True:
            lifeline.recv_bytes()
            _STATE["hurried"] = True
            hurry(_STATE.get("measurer"))
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
    config = read_kept_file(run.config_file).config()
    setting = load_whole_setting(config)
    check_same_models(run, setting)
    source = None
    if needs_latency(config):
        resources = _STATE["resources"] = ExitStack()
        measurer = resources.enter_context(instruments.measurer(config))
        _STATE["measurer"] = measurer
        if _STATE.get("hurried"):
            hurry(measurer)
        source = make_source(config, run, measurer, instruments.needed_model(config))
    return Evaluator(config, local_training(config, run, setting), source, run)


def local_training(config: RunConfig, run: RunFolder, setting: Setting) -> CandidateTraining:
    """Returns what trains in this process, with the checkpoints and the rungs of the run."""
    rungs = Rungs(run, config, setting.baseline_hashes)

    def may_go_on(key: str, values: Mapping[str, float], report: EpochReport) -> bool:
        return rungs.may_go_on(key, values, report.epoch, report.scores)

    checkpoints = FolderCheckpoints(run.checkpoints)
    training: CandidateTraining = LocalTraining(
        config,
        setting.tensors,
        checkpoints,
        may_go_on,
        teacher=setting.teacher,
        parents=parents_in(run, config),
    )
    if config.search.evaluation == "supernet":
        plan = SupernetPlan(setting.space, setting.tensors, config)
        load = partial(supernet_content, run, plan)
        training = SupernetTraining(training, plan, load, run.holds_slice)
    return GivenWeights(training, setting.trained, setting.tensors.validation)


def supernet_content(run: RunFolder, plan: SupernetPlan) -> bytes | None:
    """Returns the file of the run's supernet; None where there is none."""
    file = run.supernet_file
    return read_bounded(file, plan.store) if file.exists() else None


def supernet_here(
    run: RunFolder,
    plan: SupernetPlan,
    on_epoch: Callable[[SupernetReport], None],
    may_go_on: Callable[[], bool],
    /,
) -> bytes | None:
    """Trains shared weights in this process; see `trained_file`."""
    on_gpu = plan.data.train.device.type == "cuda"
    with nullcontext(go_on) if on_gpu else making_way() as make_way:
        return trained_file(
            plan,
            FolderCheckpoints(run.checkpoints),
            every_s=CHECKPOINT_EVERY_S,
            on_epoch=on_epoch,
            may_go_on=may_go_on,
            before_step=make_way,
        )
