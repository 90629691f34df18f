"""A run that goes on by other rules keeps its numbers, and says what it must find out again."""

from pathlib import Path
from typing import Any

import pytest

from nas.evaluation.instruments import Instruments
from nas.problem.run_file import RunFile, to_yaml
from nas.runs.folder import RunFolder
from nas.search.change import change_run
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.latencies import Stopwatch
from tests.nas.parts.latencies import instruments as given
from tests.nas.parts.tiny import tiny

OBJECTIVES = ["accuracy", "macs"]


def changed(
    tmp_path: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    instruments: Instruments | None = None,
) -> tuple[RunResults, RunResults, list[str]]:
    """Searches, goes on otherwise, and returns both results and what was said."""
    said: list[str] = []
    first = run_search(tiny(**before), tmp_path)
    then = run_search(
        tiny(**after),
        tmp_path,
        resume=True,
        change=True,
        on_note=said.append,
        instruments=instruments,
    )
    assert load_results(tmp_path / "tiny").trials == then.trials
    return first, then, said


def trained_when(results: RunResults) -> dict[str, float]:
    files = results.run.path.glob("weights/*")
    return {path.stem: path.stat().st_mtime for path in files}


def test_a_loosened_bound_frees_what_is_known_without_training_it_again(tmp_path: Path) -> None:
    before = {"constraints": ["accuracy >= 0.999"]}
    first = run_search(tiny(**before), tmp_path)
    assert first.front == ()
    times = trained_when(first)

    _, then, said = changed(tmp_path / "other", before, {"constraints": []})

    assert said == [
        "changed: constraints: ['accuracy >= 0.999'] -> []",
        "kept: 6 of 6 evaluations (6 finished, 0 infeasible, 0 stopped; before the change 0 were "
        "finished)",
    ]
    assert then.front
    assert {t.hash for t in then.feasible} == {t.hash for t in first.trials} == set(times)
    assert [t.number for t in then.trials] == [t.number for t in first.trials]


def test_a_tightened_bound_counts_for_what_is_known_and_what_comes(tmp_path: Path) -> None:
    more = {"constraints": ["macs <= 7000"], "search": {"trials": 9}}
    first, then, said = changed(tmp_path, {}, more)

    over = {t.hash for t in first.trials if t.evaluation.values["macs"] > 7000}
    assert over
    assert {t.hash for t in then.infeasible} == over
    assert all(t.evaluation.epochs == 1 for t in then.infeasible)
    assert all("macs <= 7000 is violated by" in str(t.evaluation.reason) for t in then.infeasible)
    assert len(then.searched) == 9
    assert said[-1].startswith(f"kept: 6 of 6 evaluations ({6 - len(over)} finished")


def test_what_a_bound_ended_early_is_evaluated_once_it_is_gone(tmp_path: Path) -> None:
    before = {"constraints": ["macs <= 7000"], "baselines": ["lenet_300_100"]}
    first, then, said = changed(tmp_path, before, {"baselines": ["lenet_300_100"]})

    assert said[-1] == (
        "evaluated again: 1 that broke a constraint that is no more (lenet_300_100)"
    )
    (network,) = then.baselines
    assert (network.evaluation.status, network.evaluation.epochs) == ("finished", 1)
    assert {t.hash for t in then.searched} == {t.hash for t in first.searched}
    assert (then.run.superseded / f"{network.hash}.json").exists()


def test_other_objectives_draw_another_front_through_the_same_networks(tmp_path: Path) -> None:
    first, then, _ = changed(tmp_path, {}, {"objectives": ["params", "accuracy"]})

    assert [t.hash for t in then.trials] == [t.hash for t in first.trials]
    assert min(then.trials, key=lambda t: t.evaluation.values["params"]) in then.front
    assert trained_when(first) == trained_when(then)


def test_a_latency_that_was_not_asked_for_is_measured_and_nothing_is_trained(
    tmp_path: Path,
) -> None:
    watch = Stopwatch()
    first, then, said = changed(
        tmp_path,
        {},
        {"objectives": ["accuracy", "latency_ms"]},
        given(stopwatch=watch),
    )

    assert any("evaluated again: 6 that were not measured (trial 0, " in line for line in said)
    assert sorted(watch.measured) == sorted(t.hash for t in first.trials)
    assert {t.hash for t in then.trials} == {t.hash for t in first.trials}
    assert all(t.evaluation.values["latency_ms"] > 0 for t in then.trials)
    known = {t.hash: t.evaluation.accuracy_history for t in first.trials}
    assert {t.hash: t.evaluation.accuracy_history for t in then.trials} == known


def test_more_epochs_train_the_front_again_and_set_the_others_aside(tmp_path: Path) -> None:
    first, then, said = changed(tmp_path, {}, {"training": {"epochs": 2}})

    front = {t.hash for t in first.front}
    assert said[-1].startswith(f"evaluated again: {len(front)} that are the front, for 2 epochs (")
    assert {t.hash for t in then.feasible} == front
    assert all(t.evaluation.epochs == 2 for t in then.feasible)
    assert {t.hash for t in then.stopped} == {t.hash for t in first.trials} - front
    aside = "trained for 1 of 2 epochs, before they were changed"
    assert all(t.evaluation.reason == aside for t in then.stopped)


def test_what_cannot_be_changed_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run = run_search(tiny(training={"epochs": 2}), tmp_path).run
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    def refused(file: RunFile, match: str, change: bool = False) -> None:
        with pytest.raises(UserError, match=match):
            run_search(file, tmp_path, resume=True, change=change)

    other = tiny(training={"epochs": 3})
    refused(other, r"epochs: 2 -> 3\); take the new ones with --change, restore")
    refused(tiny(), "training.epochs was 2 and cannot become 1: .* --enqueue", change=True)
    seed = tiny(training={"epochs": 3}, search={"seed": 5})
    refused(seed, r"search.seed: 0 -> 5\); restore these values", change=True)

    now = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    log = run.log_file
    assert {p: b for p, b in now.items() if p != log} == {
        p: b for p, b in before.items() if p != log
    }


def test_a_run_that_is_shared_is_not_changed(tmp_path: Path) -> None:
    search = {"storage": f"sqlite:///{tmp_path}/studies.db"}
    run_search(tiny(search=search), tmp_path)

    with pytest.raises(UserError, match=r"--change is for a run that is one's own.*--enqueue"):
        run_search(
            tiny(search=search, constraints=["macs <= 9000"]), tmp_path, resume=True, change=True
        )


def test_a_change_that_was_killed_is_made_again(tmp_path: Path) -> None:
    before = {"constraints": ["macs <= 7000"], "baselines": ["lenet_300_100"]}
    first = run_search(tiny(**before), tmp_path)
    after = tiny(baselines=["lenet_300_100"], objectives=["accuracy", "params"])
    # Killed before the run's configuration was written.
    change_run(RunFolder(tmp_path / "tiny"), after.config(), ["constraints: ..."], lambda _: None)

    then = run_search(after, tmp_path, resume=True, change=True)

    assert {t.hash for t in then.trials} == {t.hash for t in first.trials}
    assert then.baselines[0].evaluation.epochs == 1
    assert then.infeasible == ()


def test_the_command_line_says_what_changes_before_it_searches(tmp_path: Path) -> None:
    run_search(tiny(), tmp_path / "runs")
    (tmp_path / "run.yaml").write_text(to_yaml(tiny(constraints=["macs <= 7000"])))

    assert "with --change" in nas("search", "run.yaml", "--resume", at=tmp_path, code=2)
    said = nas("search", "run.yaml", "--resume", "--change", at=tmp_path)

    assert said.startswith("changed: constraints: [] -> ['macs <= 7000']\nkept: 6 of 6")
