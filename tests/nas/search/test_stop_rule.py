"""A search ends when it has had enough, whoever proposes and evaluates, and can go on."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.problem.pareto import hypervolume, hypervolume_history
from nas.problem.records import SAMPLERS
from nas.problem.run_file import RunFile, to_yaml
from nas.search.loop import Progress
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.searches import driving, ended_well, wait_for
from tests.nas.parts.tiny import tiny
from tests.nas.search.test_run import found

MOST = 54  # architectures in the space


def stopping(count: int | None, **changes: Any) -> RunFile:  # noqa: ANN401
    stop = None if count is None else {"no_gain_in": count}
    search = {"trials": MOST, "initial": 4, "stop": stop}
    return tiny(search=search | changes.pop("search", {}), **changes)


def grown_ago(results: RunResults) -> int:
    """Returns how many trials ago the hypervolume grew, computed anew after each."""
    assert len(results.feasible) == len(results.trials)
    history = hypervolume_history(
        results.points(results.trials), results.reference, results.metrics
    )
    return len(history) - 1 - int(np.flatnonzero(np.diff(history, prepend=0.0))[-1])


@pytest.mark.sweep(2)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_ends_once_so_many_architectures_brought_nothing(
    tmp_path: Path, sampler: str
) -> None:
    counts: list[int] = []

    results = run_search(
        stopping(6, search={"sampler": sampler}),
        tmp_path,
        on_progress=lambda progress: counts.append(progress.done),
    )

    assert counts == list(range(1, len(results.searched) + 1))
    assert len(results.searched) < MOST
    assert results.without_gain == grown_ago(results) == 6
    assert results.ending.startswith("the hypervolume has not grown in the last 6 architectures")
    assert results.ending in results.run.log_file.read_text()
    assert not results.used_up


def test_a_search_that_is_interrupted_ends_as_one_that_is_not(tmp_path: Path) -> None:
    class PowerCutError(Exception):
        pass

    def fail(progress: Progress) -> None:
        if progress.done == 5:
            raise PowerCutError

    whole = run_search(stopping(5), tmp_path / "whole")

    with pytest.raises(PowerCutError):
        run_search(stopping(5), tmp_path, on_progress=fail)
    results = run_search(stopping(5), tmp_path, resume=True)

    assert found(results) == found(whole)
    assert results.ending == whole.ending


def test_a_search_that_has_ended_goes_on_only_with_another_rule(tmp_path: Path) -> None:
    first = run_search(stopping(4), tmp_path)
    count = len(first.searched)

    same = run_search(stopping(4), tmp_path, resume=True)
    assert (found(same), same.ending) == (found(first), first.ending)

    longer = run_search(stopping(7), tmp_path, resume=True)
    assert len(longer.searched) > count
    assert longer.without_gain == 7

    count = len(longer.searched)
    free = run_search(stopping(None, search={"trials": count + 2}), tmp_path, resume=True)
    assert len(free.searched) == count + 2
    assert free.ending == ""
    with pytest.raises(UserError, match=r"search.seed: 0 -> 1"):
        run_search(stopping(3, search={"seed": 1}), tmp_path, resume=True)


def test_trainings_that_were_stopped_early_count_as_brought_nothing(tmp_path: Path) -> None:
    rungs = {"grace_epochs": 1, "reduction": 2}
    file = stopping(6, search={"early_stopping": rungs}, training={"epochs": 3})

    results = run_search(file, tmp_path)

    assert results.without_gain == 6
    after = results.searched[-6:]
    assert "stopped" in {trial.evaluation.status for trial in after}
    before, now = (
        hypervolume(results.points(trials), results.reference, results.metrics)
        for trials in ([t for t in results.feasible if t not in after], results.feasible)
    )
    assert before == pytest.approx(now, rel=1e-12)


def test_what_is_enqueued_is_evaluated_though_nothing_more_is_proposed(tmp_path: Path) -> None:
    first = run_search(stopping(4), tmp_path / "first")
    other = run_search(stopping(4, search={"seed": 3}), tmp_path / "other")
    new = {trial.hash for trial in other.front} - {trial.hash for trial in first.trials}
    assert new

    queue = tuple(other.run.load_architecture(key) for key in sorted(new))
    results = run_search(stopping(4), tmp_path / "first", resume=True, enqueue=queue)

    assert {trial.hash for trial in results.trials} >= new


@pytest.mark.slow
def test_several_processes_end_what_they_have_begun(tmp_path: Path) -> None:
    results = run_search(stopping(6, search={"workers": 2}), tmp_path)

    assert results.num_running == 0
    assert len(results.searched) < MOST
    assert results.without_gain is not None
    assert 6 <= results.without_gain <= 7  # one more was under way


@pytest.mark.cluster
def test_two_drivers_of_one_folder_end_together(tmp_path: Path) -> None:
    file = stopping(8, training={"epochs": 60})
    with driving(tmp_path, file, "new") as first:
        wait_for(first, "trial")
        with driving(tmp_path, file, "join") as second:
            ended_well(second)
            ended_well(first)

    results = load_results(tmp_path / "tiny")
    assert results.num_running == 0
    assert len(results.searched) < MOST
    assert results.without_gain is not None
    assert 8 <= results.without_gain <= 9


def test_the_command_line_says_why_it_ended_and_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(stopping(4)))

    ended = nas("search", "run.yaml", at=tmp_path)

    (line,) = (line for line in ended.splitlines() if line.startswith("ended after"))
    why = (
        r"the hypervolume has not grown in the last 4 architectures \(search.stop.no_gain_in is "
        r"4\); to go on: (--resume --set search.stop=null), or a larger no_gain_in"
    )
    said = re.fullmatch(rf"ended after (\d+) of 54 architectures: {why}", line)
    assert said is not None, line
    assert "go on with" not in ended

    status = nas("status", "runs/tiny", at=tmp_path)
    assert f"runs/tiny: not running, {said[1]} of 54 architectures" in status
    assert ", grown 4 architectures ago (the search ends at 4)" in status
    assert re.search(f"\nended: {why}\n", status)
    assert "\nleft: nothing\n" in status
    assert "go on with" not in status

    more = nas(
        "search", "run.yaml", *said[2].split(), "--trials", f"{int(said[1]) + 1}", at=tmp_path
    )
    assert "ended after" not in more
    assert len(load_results(tmp_path / "runs" / "tiny").searched) == int(said[1]) + 1
