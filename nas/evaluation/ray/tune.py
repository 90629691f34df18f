"""Tune run: Ray Tune as the executor of trainings, in a thread beside the search.

Candidates come from a queue and their ends go to futures. Nothing of Tune's own state is read
back: if Tune fails as a whole it is started again with what is left, and after the driver's death
the study and the run folder say what is to be done.
"""

import logging
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from threading import Event, Lock, Thread
from typing import Any

import psutil
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from nas.evaluation.ray.nodes.ray_private import keep_actors
from nas.evaluation.ray.trainable import CandidateTrainable, Shared
from search_spaces.graphs.errors import UserError

PREFIX = "hwnas-tune-"  # of Tune's temporary folders; the driver's process follows
STARTS = 5  # how often in a row Tune as a whole may fail
SETTINGS = {  # of Tune, which reads them from the environment of the driver
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "1024",  # all that are ready wait for room in Tune, not here
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}

log = logging.getLogger("nas.search")


@dataclass(slots=True)
class Job:
    """A candidate that is to be trained, and the future of its outcome."""

    config: dict[str, Any]
    future: "Future[Mapping[str, Any]]" = field(default_factory=Future)


class Jobs:
    """The candidates that wait for Tune, and those that it has; threads may use it at once."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._lock = Lock()
        self.over: BaseException | None = None
        self.num_finished = 0

    def add(self, config: dict[str, Any]) -> "Future[Mapping[str, Any]]":
        job = Job(config)
        with self._lock:
            if self.over is None:
                self._waiting.append(job)
                return job.future
        job.future.set_exception(self.over)
        return job.future

    def keys(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the candidates that wait, and those that Tune has."""
        with self._lock:
            waiting, running = tuple(self._waiting), tuple(self._running.values())
        return tuple(j.config["key"] for j in waiting), tuple(j.config["key"] for j in running)

    def hand_out(self, trial_id: str) -> dict[str, Any] | None:
        with self._lock:
            if not self._waiting:
                return None
            job = self._running[trial_id] = self._waiting.popleft()
            return job.config

    def finish(self, trial_id: str, outcome: Mapping[str, Any]) -> None:
        if (job := self._taken(trial_id)) is not None:
            self.num_finished += 1
            job.future.set_result(outcome)

    def fail(self, trial_id: str, error: BaseException) -> None:
        if (job := self._taken(trial_id)) is not None:
            job.future.set_exception(error)

    def _taken(self, trial_id: str) -> Job | None:
        with self._lock:
            return self._running.pop(trial_id, None)

    def start_over(self) -> None:
        """Puts back in the queue what a Tune that failed had taken."""
        with self._lock:
            self._waiting.extendleft(reversed(self._running.values()))
            self._running.clear()

    def close(self, error: BaseException) -> None:
        """Lets everything that is not finished, and whatever comes later, fail with ``error``."""
        with self._lock:
            self.over = error
            left = [*self._waiting, *self._running.values()]
            self._waiting.clear()
            self._running.clear()
        for job in left:
            job.future.set_exception(error)


class QueueSearcher(Searcher):  # type: ignore[misc]  # Ray has no types
    """Hands Tune the candidates that the search has asked of its study.

    Sampling, deduplication and telling are the search loop's; Tune only learns what to run.
    """

    def __init__(self, jobs: Jobs, ended: Event) -> None:
        super().__init__()
        self.jobs = jobs
        self.ended = ended

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401  (a configuration, None, or "FINISHED")
        if self.ended.is_set():
            return Searcher.FINISHED
        return self.jobs.hand_out(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The callback below says how it ended."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's state is never read back."""

    def get_state(self) -> dict[str, Any]:
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles its parts at the start; nobody ever reads that."""
        return (object, ())


class KeepingActors(FIFOScheduler):  # type: ignore[misc]
    """Runs trials as they come, and lets Tune keep every actor for the next one."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
        keep_actors(tune_controller, trial.placement_group_factory)
        super().on_trial_add(tune_controller, trial)


class Ends(tune.Callback):  # type: ignore[misc]
    """Brings the ends of trials to their futures."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        outcome = trial.last_result.get("outcome")
        if outcome is None:  # it was ended from outside, before its step
            self.jobs.fail(trial.trial_id, TrialLostError("it was stopped before it began"))
        else:
            self.jobs.finish(trial.trial_id, outcome)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        self.jobs.fail(trial.trial_id, TrialLostError(why_lost(trial)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (object, ())


class TrialLostError(Exception):
    """The process or node of a trial is gone; what the trial itself does wrong is an outcome."""


def why_lost(trial: Trial) -> str:
    """Returns in one line what Ray says about a trial that it lost."""
    try:
        lines = Path(trial.error_file).read_text("utf-8").strip().splitlines()
    except (OSError, TypeError):
        return "its process is gone"
    said = [line.strip() for line in lines if "died" in line or "failed" in line]
    return said[0][:300] if said else "its process is gone"


class TuneRun:
    """Ray Tune in a thread, for as long as a search has trainings for it.

    Args:
        cpus: Cores of one training, may be a fraction.
        gpus: GPUs of one training, may be a fraction.
    """

    def __init__(self, shared: Shared, cpus: float, gpus: float) -> None:
        self.jobs = Jobs()
        self.ended = Event()
        self.shared = shared
        self.resources = {"cpu": cpus, "gpu": gpus}
        self.thread = Thread(target=self.run, name="ray tune", daemon=True)

    def start(self) -> None:
        os.environ.update(SETTINGS)
        remove_left_over()
        self.thread.start()

    def close(self, wait_s: float) -> None:
        """Ends Tune; what is still running is dropped."""
        self.ended.set()
        self.jobs.close(RuntimeError("the search has ended"))
        self.thread.join(wait_s)

    def run(self) -> None:
        try:
            error = self.fit_again_and_again()
        except BaseException as problem:  # such as a full disk: nobody may wait for ever
            error = problem
        if not self.ended.is_set():
            self.jobs.close(
                UserError(
                    f"Ray Tune does not run ({type(error).__name__}: {error}); what is finished "
                    "is kept; put it right and go on with --resume"
                )
            )

    def fit_again_and_again(self) -> BaseException | None:
        """Runs Tune until the search ends; returns why it did not want to, several times over."""
        error: BaseException | None = None
        failures = 0
        while failures < STARTS:
            finished = self.jobs.num_finished
            prefix = f"{PREFIX}{os.getpid()}-"
            with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
                try:
                    self.tuner(folder).fit()
                except BaseException as problem:
                    error = problem
            if self.ended.is_set():
                return None
            failures = 1 if self.jobs.num_finished > finished else failures + 1
            log.warning("Ray Tune ended (%s: %s); starting it again", type(error).__name__, error)
            self.jobs.start_over()
        return error

    def tuner(self, folder: str) -> tune.Tuner:
        trainable = tune.with_parameters(CandidateTrainable, shared=self.shared)
        return tune.Tuner(
            tune.with_resources(trainable, self.resources),
            tune_config=tune.TuneConfig(
                search_alg=QueueSearcher(self.jobs, self.ended),
                scheduler=KeepingActors(),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=folder,
                verbose=0,
                callbacks=[Ends(self.jobs)],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_at_end=False, checkpoint_frequency=0
                ),
            ),
        )


def remove_left_over() -> None:
    """Removes what the Tune of drivers that were killed has left in the temporary folder."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            rmtree(folder, ignore_errors=True)  # another user's stays


def trial_name(trial: Trial) -> str:
    return f"{trial.config['key']}-{trial.trial_id}"
