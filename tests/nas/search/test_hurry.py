"""After a first Ctrl-C nobody waits for a quiet machine: what is left is evaluated by --resume."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from latency_models.devices.latency import DeviceBusyError, Latency
from nas.evaluation.instruments import Instruments
from nas.evaluation.latency import BUSY_TRIES, patient_latency
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile
from nas.search.run import run_search
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.latencies import Stopwatch, fresh_model, fresh_stopwatch
from tests.nas.parts.runs import baseline
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S, wait_until


@dataclass
class BusyMachine(Stopwatch):
    """Waits for a quiet machine until it is hurried; says in files what it waits for."""

    marks: Path = Path()
    hurried: threading.Event = field(default_factory=threading.Event)

    @property
    def is_hurried(self) -> bool:
        return self.hurried.is_set()

    def hurry(self) -> None:
        self.hurried.set()

    def latency(self, graph: Graph) -> Latency:
        (self.marks / graph_hash(graph)).touch()
        assert self.hurried.wait(PATIENCE_S)
        raise DeviceBusyError("somebody compiles")


@dataclass(frozen=True)
class OpenBusy:
    """Opens busy machines, in whatever process."""

    marks: Path

    def __call__(self, config: RunConfig) -> AbstractContextManager[BusyMachine]:
        return nullcontext(BusyMachine(marks=self.marks))


def searched(workers: int) -> RunFile:
    return tiny(objectives=["accuracy", "latency_ms"], search={"trials": 3, "workers": workers})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_search_leaves_what_a_busy_machine_does_not_measure_for_resume(
    workers: int, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    said: list[str] = []
    interrupting = threading.Thread(target=interrupt_once, args=(lambda: waiting(marks), workers))
    interrupting.start()

    results = run_search(
        searched(workers),
        tmp_path,
        instruments=Instruments(OpenBusy(marks), fresh_model),
        on_note=said.append,
    )

    interrupting.join()
    assert results.trials == ()
    assert results.num_running == 0
    assert len(waiting(marks)) == workers
    told = "is left for --resume, not measured: somebody compiles"
    assert sum(told in line for line in said) == workers

    quiet = Instruments(fresh_stopwatch, fresh_model)
    resumed = run_search(searched(workers), tmp_path, instruments=quiet, resume=True)

    assert len(resumed.searched) == 3
    assert waiting(marks) <= {trial.hash for trial in resumed.searched}
    assert resumed.infeasible == ()


def waiting(marks: Path) -> set[str]:
    return {path.name for path in marks.iterdir()}


def interrupt_once(seen: Callable[[], set[str]], count: int) -> None:
    wait_until(lambda: len(seen()) == count)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_hurried_measurer_is_asked_once(tmp_path: Path) -> None:
    busy = BusyMachine(marks=tmp_path)
    graph = baseline("any", 4).graph
    stopwatch = Stopwatch(lambda graph: DeviceBusyError("somebody compiles"))

    busy.hurry()
    with pytest.raises(DeviceBusyError, match=r"^somebody compiles$"):
        patient_latency(busy, graph)
    with pytest.raises(DeviceBusyError, match="tried"):
        patient_latency(stopwatch, graph)

    assert len(stopwatch.measured) == BUSY_TRIES


def test_a_busy_machine_ends_a_search_that_does_not_stop(tmp_path: Path) -> None:
    instruments = Instruments(
        lambda config: nullcontext(Stopwatch(lambda graph: DeviceBusyError("somebody compiles"))),
        fresh_model,
    )

    with pytest.raises(DeviceBusyError, match="what is finished is kept"):
        run_search(searched(1), tmp_path, instruments=instruments)


def test_what_halves_the_speed_is_said_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def half(threads: int) -> str:
        asked.append(threads)
        return "this process may use 0.5 CPUs (a cgroup's quota)"

    monkeypatch.setattr("nas.evaluation.instruments.contention", half)
    said: list[str] = []
    quiet = Instruments(fresh_stopwatch, fresh_model)

    results = run_search(searched(1), tmp_path, instruments=quiet, on_note=said.append)
    unmeasured = tiny(search={"trials": 1}).model_copy(update={"name": "unmeasured"})
    run_search(unmeasured, tmp_path, on_note=said.append)

    line = "this machine is slowed down: this process may use 0.5 CPUs (a cgroup's quota)"
    assert [each for each in said if "slowed" in each] == [line]
    assert line in results.run.log_file.read_text()
    assert asked == [1]  # one that times nothing does not ask
