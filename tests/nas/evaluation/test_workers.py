"""A worker process that dies costs a retry of its own candidate, and none outlives the search."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from time import sleep
from typing import Any

import psutil
import pytest

from nas.evaluation.processes import InOtherProcess, Lifelines, live_by
from nas.evaluation.workers import InProcess, LocalWorkers
from nas.runs.folder import RunFolder, create_run
from nas.search.loop import Progress
from nas.search.run import run_search
from nas.search.under_way import UnderWay
from nas.study.results import RunResults
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.runs import baseline
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S

SPAWN = multiprocessing.get_context("spawn")


def evaluate(architecture: Mapping[str, Any]) -> str:
    """Does what the architecture's name says."""
    match architecture["space"]:
        case "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            sleep(1)
        case "wrong":
            raise UserError("the disk is full")
    return f"{os.getpid()} {signal.pthread_sigmask(signal.SIG_BLOCK, ())}"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", "name: run\n")


@pytest.fixture
def workers(run: RunFolder) -> Iterator[LocalWorkers]:
    with LocalWorkers(2, lambda: InOtherProcess(1, SPAWN), evaluate, run) as made:
        yield made


def named(name: str, width: int = 4) -> Architecture:
    return baseline(name, width)


def outcome(future: "Future[str]") -> object:
    try:
        return future.result(timeout=PATIENCE_S)
    except BrokenProcessPool:
        return "died"


@pytest.mark.slow
def test_candidates_run_beside_each_other_where_ctrl_c_does_not_reach(
    workers: LocalWorkers,
) -> None:
    futures = [workers.submit(named("slow", width)) for width in (4, 8)]
    results = [future.result(timeout=PATIENCE_S) for future in futures]

    assert len({result.partition(" ")[0] for result in results}) == 2
    assert all("SIGINT" in result for result in results)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.slow
def test_who_dies_takes_nobody_along_and_is_given_up_after_a_second_try(
    workers: LocalWorkers, run: RunFolder
) -> None:
    killer = named("killer")
    slow = workers.submit(named("slow", 8))
    assert outcome(workers.submit(killer)) == "died"
    assert workers.has_another_try(killer)
    assert outcome(workers.submit(killer)) == "died"
    assert not workers.has_another_try(killer)

    given_up = workers.give_up(killer)

    assert outcome(slow) != "died"
    assert outcome(workers.submit(named("quick", 12))) != "died"
    assert run.load_evaluation(graph_hash(killer.graph)) == given_up
    assert given_up.reason == "its worker process died 2 times (out of memory, or killed)"


def test_an_error_of_a_worker_is_the_searchs_own(workers: LocalWorkers) -> None:
    with pytest.raises(UserError, match="the disk is full"):
        workers.submit(named("wrong")).result(timeout=PATIENCE_S)


def test_in_process_an_error_passes_through_at_once(run: RunFolder) -> None:
    with LocalWorkers(1, InProcess, evaluate, run) as workers:
        assert outcome(workers.submit(named("quick"))) != "died"
        with pytest.raises(UserError, match="the disk is full"):
            workers.submit(named("wrong"))


def hang(lifeline: Any) -> None:  # noqa: ANN401  (a connection)
    live_by(lifeline)


def test_a_process_dies_when_its_lifeline_is_let_go() -> None:
    lifelines = Lifelines(SPAWN)
    process = SPAWN.Process(target=hang, args=(lifelines.tie(),))
    process.start()
    lifelines.hurry()  # which ends nothing
    assert process.is_alive()

    lifelines.cut()

    process.join(60)
    assert process.exitcode == 1


def die_at_start() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_all(under_way: UnderWay) -> None:
    while under_way.futures:
        for future in under_way.finished(PATIENCE_S):
            under_way.end(future)


@pytest.mark.slow
def test_workers_that_all_die_at_their_start_are_one_error(run: RunFolder) -> None:
    started = []

    def start() -> InOtherProcess:
        started.append(InOtherProcess(1, SPAWN, die_at_start, ready=SPAWN.Event()))
        return started[-1]

    with LocalWorkers(2, start, evaluate, run) as workers:
        under_way = UnderWay(workers, run, None)
        for width in (4, 8):
            under_way.submit(named("quick", width))
        with pytest.raises(UserError, match=r"no worker gets through its start: 3 were lost"):
            end_all(under_way)

    assert list(run.evaluations()) == []


def children() -> set[int]:
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def killing_once() -> Callable[[Progress], None]:
    killed: list[int] = []

    def watch(progress: Progress) -> None:
        if not killed:
            killed.extend(process.pid or 0 for process in multiprocessing.active_children())
            os.kill(killed[0], signal.SIGKILL)

    return watch


def check(results: RunResults, trials: int) -> None:
    assert len(results.searched) == len({trial.hash for trial in results.searched}) == trials
    assert all(trial.evaluation.feasible for trial in results.trials)


@pytest.mark.slow
def test_two_workers_find_so_many_distinct_architectures_though_one_is_killed(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    before = children()
    file = tiny(data=digits_file, search={"trials": 8, "workers": 2}, baselines=["lenet_300_100"])

    results = run_search(file, tmp_path, on_progress=killing_once())

    check(results, 8)
    assert results.num_failed == 0
    assert children() == before
    check(
        run_search(
            tiny(data=digits_file, search={"trials": 9}, baselines=["lenet_300_100"]),
            tmp_path,
            resume=True,
        ),
        9,
    )
