"""All workers keep one contract, in this process, in others, and on a cluster."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments
from nas.evaluation.processes import InOtherProcess
from nas.evaluation.ray.connection import connected
from nas.evaluation.ray.place import RayPlace
from nas.evaluation.workers import (
    InProcess,
    LocalWorkers,
    WorkerLostError,
    Workers,
)
from nas.problem.run_file import RunFile, to_yaml
from nas.runs.folder import RunFolder, create_run
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import from_json, graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.contracts import (
    KILLER,
    QUICK,
    SLOW,
    WRONG,
    FatedTraining,
    keeping,
    open_fated,
)
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S

Opened = AbstractContextManager[Workers]
Open = Callable[[RunFolder, RunFile], Opened]
SPAWN = multiprocessing.get_context("spawn")


def evaluate(run: Path, architecture: Mapping[str, Any]) -> str:
    evaluator = Evaluator(tiny().config(), FatedTraining(), None, RunFolder(run))
    return evaluator.evaluate(from_json(architecture)).hash


def in_process(run: RunFolder, file: RunFile) -> Opened:
    return LocalWorkers(1, InProcess, partial(evaluate, run.path), run)


def in_processes(run: RunFolder, file: RunFile) -> Opened:
    return LocalWorkers(2, lambda: InOtherProcess(1, SPAWN), partial(evaluate, run.path), run)


@contextmanager
def on_a_cluster(run: RunFolder, file: RunFile) -> Iterator[Workers]:
    config = file.config()
    with connected("auto") as cluster:
        place = RayPlace(cluster, Instruments(), open_training=open_fated)
        with place.open(config, run, place.prepare(config), None) as opened:
            yield opened.workers


MAKERS: dict[str, Open] = {
    "in process": in_process,
    "processes": in_processes,
    "cluster": on_a_cluster,
}


def test_all_workers_are_in_this_suite() -> None:
    found = keeping("submit", "has_another_try", "give_up")

    assert found == {"LocalWorkers", "RayWorkers"}  # two makers have local ones


@pytest.fixture(
    params=[
        "in process",
        pytest.param("processes", marks=pytest.mark.slow),  # each loads torch
        pytest.param("cluster", marks=pytest.mark.cluster),
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "cluster":
        request.getfixturevalue("two_nodes")
    chosen: str = request.param
    return chosen


@pytest.fixture
def run(tmp_path: Path, digits_file: dict[str, Any]) -> RunFolder:
    return create_run(tmp_path / "run", to_yaml(tiny(data=digits_file)))


@pytest.fixture
def workers(name: str, run: RunFolder, digits_file: dict[str, Any]) -> Iterator[Workers]:
    with MAKERS[name](run, tiny(data=digits_file)) as opened:
        yield opened


def outcome(workers: Workers, architecture: Architecture) -> object:
    """Returns the hash of what was evaluated, or the loss of its worker."""
    try:
        return workers.submit(architecture).result(timeout=PATIENCE_S)
    except (WorkerLostError, BrokenProcessPool) as error:
        return error


@pytest.mark.slow
def test_every_slot_takes_a_candidate_and_each_is_filed_under_its_hash(
    workers: Workers, run: RunFolder
) -> None:
    candidates = [SLOW, QUICK][: workers.slots]
    assert workers.slots >= 1

    futures = [workers.submit(candidate) for candidate in candidates]

    for candidate, future in zip(candidates, futures, strict=True):
        key = future.result(timeout=PATIENCE_S)
        assert key == graph_hash(candidate.graph)
        evaluation = run.load_evaluation(key)
        assert evaluation is not None
        assert (evaluation.status, evaluation.values["accuracy"]) == ("finished", 0.75)
        assert run.load_architecture(key) == candidate
        assert workers.has_another_try(candidate)


@pytest.mark.slow
def test_what_is_wrong_with_the_search_ends_it(workers: Workers) -> None:
    with pytest.raises(UserError, match="the disk is full"):
        workers.submit(WRONG).result(timeout=PATIENCE_S)


@pytest.mark.slow
def test_who_kills_its_worker_is_tried_again_and_then_given_up(
    workers: Workers, run: RunFolder, name: str
) -> None:
    key = graph_hash(KILLER.graph)
    checkpoints = FolderCheckpoints(run.checkpoints)
    checkpoints.save(key, b"what it had")
    if name != "in process":  # whose death would be ours
        lost = outcome(workers, KILLER)
        assert getattr(lost, "is_candidates_fault", isinstance(lost, BrokenProcessPool))
        assert workers.has_another_try(KILLER)
        assert isinstance(outcome(workers, KILLER), type(lost))
        assert not workers.has_another_try(KILLER)

    given_up = workers.give_up(KILLER)

    assert given_up == run.load_evaluation(key)
    assert (given_up.hash, given_up.status) == (key, "infeasible")
    assert given_up.reason == "its worker process died 2 times (out of memory, or killed)"
    assert checkpoints.load(key) is None
    assert outcome(workers, QUICK) == graph_hash(QUICK.graph)
