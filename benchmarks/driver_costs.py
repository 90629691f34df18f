"""Driver costs: what the real search loop spends on each candidate, in this process.

Searches whose candidates cost nothing, as `benchmarks.search_overhead`; here each step is timed
by itself, candidate by candidate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stand_in import made_up
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.workers import InProcess, LocalWorkers
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.folder import RunFolder, create_run
from nas.search.loop import SearchLoop
from nas.search.resume import take_up_study
from nas.study.drivers import alone
from nas.training.candidate import CandidateTraining
from nas.training.loop import TrainingResult
from search_spaces.space.architecture import from_json
from search_spaces.space.space import Architecture

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DriverCosts:
    """Seconds of the driver a candidate, in the order in which they were asked for.

    Attributes:
        ask: Asking the sampler, building the graph, submitting.
        evaluate: Its costs, and filing what was found, weights included.
        tell: Telling the study.
        cpu_s: CPU seconds of all three; the mean, as disks are waited for as well.
    """

    ask: Array
    evaluate: Array
    tell: Array
    cpu_s: float


class FreeTraining:
    """Makes up a result; its own time is noted, as it is no cost of a search."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.cpu_s = 0.0

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        start, cpu_start_s = perf_counter(), process_time()
        result = made_up(candidate.graph)
        self.spent_s += perf_counter() - start
        self.cpu_s += process_time() - cpu_start_s
        return result

    def forget(self, key: str) -> None:
        """Nothing is kept."""


class TimedEvaluations:
    """Evaluates in this process, and notes the time less that of the training."""

    def __init__(self, config: RunConfig, run: RunFolder) -> None:
        self.training = FreeTraining()
        training: CandidateTraining = self.training
        self.evaluator = Evaluator(config, training, None, run)
        self.seconds: list[float] = []
        self.whole_s = 0.0

    def __call__(self, architecture: Mapping[str, Any]) -> str:
        start, trained_s = perf_counter(), self.training.spent_s
        key = self.evaluator.evaluate(from_json(architecture)).hash
        spent_s = perf_counter() - start
        self.whole_s += spent_s
        self.seconds.append(spent_s - (self.training.spent_s - trained_s))
        return key


@dataclass
class TimedLoop(SearchLoop):
    """The search loop, which notes how long it asks and tells."""

    evaluations: TimedEvaluations | None = None
    ask_s: list[float] = field(default_factory=list)
    tell_s: list[float] = field(default_factory=list)

    def ask(self) -> None:
        assert self.evaluations is not None
        start, evaluated_s = perf_counter(), self.evaluations.whole_s
        count = len(self.under_way.futures)
        super().ask()
        spent_s = perf_counter() - start - (self.evaluations.whole_s - evaluated_s)
        if len(self.under_way.futures) > count:
            self.ask_s.append(spent_s)
        elif self.ask_s:  # a repeat is told at once, and is a cost of the candidates there are
            self.ask_s[-1] += spent_s

    def finish(self, future: Any) -> None:  # noqa: ANN401
        start = perf_counter()
        super().finish(future)
        self.tell_s.append(perf_counter() - start)


def record_driver_costs(file: RunFile, folder: Path) -> DriverCosts:
    """Searches as ``file`` says, without training, and returns what each candidate cost."""
    config = file.config()
    run = create_run(folder, to_yaml(file))
    setting = load_setting(config)
    study = take_up_study(config, run, setting)
    evaluations = TimedEvaluations(config, run)
    with LocalWorkers(1, InProcess, evaluations, run) as workers:
        drivers = alone(study, run)
        loop = TimedLoop(config, setting, drivers, workers, evaluations=evaluations)
        start_s = process_time()
        loop.run_all()
        cpu_s = process_time() - start_s - evaluations.training.cpu_s
    return DriverCosts(
        ask=np.array(loop.ask_s),
        evaluate=np.array(evaluations.seconds),
        tell=np.array(loop.tell_s),
        cpu_s=cpu_s / loop.done,
    )
