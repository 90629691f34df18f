"""Workers: where candidates are evaluated, in this process or in several others.

Both are `concurrent.futures` executors. A worker process that dies takes its candidates with it,
not the search: the pool is made anew and what was lost is tried once more.
"""

import multiprocessing
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from latency_models.device import get_device
from latency_models.measure import Measurer
from nas.config import RunConfig
from nas.evaluation import Evaluation
from nas.evaluator import Evaluator
from nas.run_file import read_run_file
from nas.run_folder import RunFolder
from nas.setting import load_setting
from search_spaces.architecture import from_json, graph_hash, to_json
from search_spaces.space import Architecture

ATTEMPTS = 2  # how often a candidate is given to a worker before it counts as the culprit


class Workers:
    """Evaluates architectures, ``slots`` at a time.

    Use it as a context manager: leaving it ends all its processes.
    """

    def __init__(
        self,
        slots: int,
        start: Callable[[], Executor],
        evaluate: Callable[[Mapping[str, Any]], str],
        run: RunFolder,
    ) -> None:
        self.slots = slots
        self._evaluate = evaluate
        self._start = start
        self._run = run
        self._pool = start()
        self._attempts: dict[str, int] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, architecture: Architecture) -> "Future[str]":
        """Starts an evaluation; the future's result is the hash under which it is filed."""
        key = graph_hash(architecture.graph)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        try:
            return self._pool.submit(self._evaluate, to_json(architecture))
        except BrokenProcessPool:
            self._pool = self._start()
            return self._pool.submit(self._evaluate, to_json(architecture))

    def has_another_try(self, architecture: Architecture) -> bool:
        return self._attempts[graph_hash(architecture.graph)] < ATTEMPTS

    def give_up(self, architecture: Architecture) -> Evaluation:
        """Files an architecture that killed its worker every time as infeasible."""
        evaluation = Evaluation(
            hash=graph_hash(architecture.graph),
            status="infeasible",
            reason=f"its worker process died {ATTEMPTS} times (out of memory, or killed)",
            values={},
            violations={},
        )
        self._run.save_evaluation(architecture, evaluation, None)
        return evaluation


def local_workers(config: RunConfig, run: RunFolder, evaluator: Evaluator | None) -> Workers:
    """Returns the evaluator as the one worker, or as many processes as the configuration says."""
    if evaluator is not None:

        def evaluate_here(architecture: Mapping[str, Any]) -> str:
            return evaluator.evaluate(from_json(architecture)).hash

        return Workers(1, InProcess, evaluate_here, run)
    context = multiprocessing.get_context("spawn")  # torch and TVM do not survive a fork

    def start() -> Executor:
        return ProcessPoolExecutor(
            config.search.workers, context, initializer=start_worker, initargs=(str(run.path),)
        )

    return Workers(config.search.workers, start, evaluate_in_process, run)


class InProcess(Executor):
    """Runs each call at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":  # noqa: ANN401
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))  # an error is the caller's own, and passes through
        return future


_STATE: dict[str, Any] = {}


def start_worker(path: str) -> None:
    """Loads what a worker process needs, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which then asks us
    run = RunFolder(Path(path))
    config = read_run_file(run.config_file).config()
    resources = ExitStack()
    measurer = resources.enter_context(open_measurer(config)) if needs_latency(config) else None
    _STATE["resources"] = resources
    _STATE["evaluator"] = Evaluator(config, load_setting(config).tensors, measurer, run)


def evaluate_in_process(architecture: Mapping[str, Any]) -> str:
    evaluator: Evaluator = _STATE["evaluator"]
    return evaluator.evaluate(from_json(architecture)).hash


def needs_latency(config: RunConfig) -> bool:
    used = {metric.name for metric in config.objectives}
    return "latency_ms" in used | {rule.metric.name for rule in config.constraints}


def open_measurer(config: RunConfig) -> Measurer:
    latency = config.latency
    return Measurer(
        get_device(latency.device),
        latency.runtime,
        tuned=latency.tuned,
        time_limit_s=latency.time_limit_s,
    )
