"""A search finds so many distinct architectures, whatever happens on the way."""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from latency_models.prediction.predictor import Predictor
from nas.evaluation.instruments import Instruments
from nas.evaluation.place import LocalPlace, OpenPlace
from nas.evaluation.workers import WorkerLostError, Workers
from nas.problem import yaml_text
from nas.problem.records import SAMPLERS, RunConfig
from nas.problem.run_file import RunFile
from nas.problem.search_problem import Setting, load_setting
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.runs.lock import lock_run
from nas.search.loop import Progress
from nas.search.run import run_search
from nas.study.names import HASH
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.tiny import SPACE, tiny

STAGE = SPACE["stages"][0]


def found(results: RunResults) -> list[tuple[object, ...]]:
    """What a run has found, without the times that it took."""
    return [
        (trial.hash, trial.baseline, tuple(trial.genes.items()), trial.evaluation.values)
        for trial in results.trials
    ]


def all_trials(results: RunResults) -> list[FrozenTrial]:
    storage = open_storage(results.config.search.storage, results.run.journal)
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)


def check_whole(results: RunResults, trials: int) -> None:
    """Every trial counts once and has all its files."""
    assert len(results.searched) == len({trial.hash for trial in results.searched}) == trials
    hashes = {trial.hash for trial in results.trials}
    assert {path.stem for path in (results.run.path / "evaluations").iterdir()} == hashes
    for trial in results.trials:
        assert graph_hash(results.run.load_architecture(trial.hash).graph) == trial.hash
        if trial.evaluation.epochs:
            results.run.load_model(trial.hash)
    assert results.num_running == 0


def stopping_after(number: int, how: Callable[[], None]) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.done == number:
            how()

    return watch


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise RuntimeError("the power went")


def test_a_search_ends_with_so_many_distinct_architectures(tmp_path: Path) -> None:
    seen: list[Progress] = []

    results = run_search(tiny(), tmp_path, on_progress=seen.append)

    check_whole(results, 6)
    assert [progress.done for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert results.front
    assert not results.used_up
    assert found(load_results(tmp_path / "tiny")) == found(results)


def test_baselines_come_first_and_are_not_counted(tmp_path: Path) -> None:
    networks = [{"network": "lenet5", "resolution": 16}, "lenet_300_100"]

    results = run_search(tiny(baselines=networks), tmp_path)

    check_whole(results, 6)
    assert [trial.name for trial in results.trials[:2]] == ["lenet5 @16", "lenet_300_100"]
    assert results.baselines == results.trials[:2]
    assert all(trial.evaluation.epochs == 1 for trial in results.baselines)
    assert [trial.number for trial in results.trials] == list(range(8))


def test_a_baseline_inside_the_space_is_a_parent_and_never_proposed_again(tmp_path: Path) -> None:
    blocks = {"depthwise_separable": {"kernel_size": 3}, "plain": None}
    stages = [
        {"depth": [1, 2], "width": [16, 32], "stride": 1, "blocks": blocks},
        *(
            {"depth": depth, "width": width, "stride": 2, "blocks": blocks}
            for depth, width in (([1, 2], 32), ([1, 2], 64), ([1, 6], 128), ([1, 2], 256))
        ),
    ]
    space = {"resolution": 32, "stem": {"width": 8, "stride": 2}, "stages": stages}
    file = tiny(
        space=space, baselines=[{"network": "mobilenet_v1", "width": 0.25}], search={"trials": 2}
    )
    setting = load_setting(file.config())
    (network,) = setting.baselines.values()
    assert network.genes

    results = run_search(file, tmp_path)

    assert dict(results.baselines[0].genes) == dict(network.genes)
    check_whole(results, 2)


def test_equal_architectures_are_trained_once_and_told_alike(tmp_path: Path) -> None:
    # 1 % of 8, 16 or 24 channels rounds to nothing: every network has two sets of genes.
    stage = STAGE | {"depth": 1, "blocks": "depthwise_separable", "width": [8, 16]}
    stage |= {"blocks": ["inverted_residual"], "prune_ratio": [0.0, 0.01]}
    space = SPACE | {"stages": [stage], "stem": {"width": 4, "stride": 2}}

    results = run_search(tiny(space=space, search={"trials": 12, "sampler": "random"}), tmp_path)

    check_whole(results, 12)
    assert results.num_duplicates > 0
    told: dict[str, Any] = {}
    for trial in all_trials(results):
        assert told.setdefault(trial.user_attrs[HASH], trial.values) == trial.values
    assert len(told) == 12
    repeated = next(trial for trial in results.trials if trial.repeats)
    assert results.pick(str(repeated.repeats[0])) == repeated


@pytest.mark.sweep(2)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_and_one_worker_give_the_same_trials(tmp_path: Path, sampler: str) -> None:
    def run(folder: str, seed: int) -> list[tuple[object, ...]]:
        file = tiny(search={"trials": 8, "sampler": sampler, "seed": seed})
        return found(run_search(file, tmp_path / folder))

    assert run("one", 1) == run("again", 1)
    assert run("other", 2) != run("one again", 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_breaks_a_free_constraint_costs_no_trial(tmp_path: Path, sampler: str) -> None:
    file = tiny(
        constraints=["macs <= 7000"], search={"sampler": sampler}, baselines=["lenet_300_100"]
    )

    results = run_search(file, tmp_path)

    check_whole(results, 6)
    assert all(trial.evaluation.feasible and trial.evaluation.epochs for trial in results.searched)
    (too_large,) = results.baselines  # asked for by name, so it is told what it breaks
    assert too_large.evaluation.status == "infeasible"
    assert "training" not in too_large.evaluation.seconds
    excess = f"{too_large.evaluation.values['macs'] - 7000:.6g}"
    assert str(too_large.evaluation.reason).startswith(f"macs <= 7000 is violated by {excess} (")
    assert not results.run.weights_file(too_large.hash).exists()
    assert re.fullmatch(r"\d+ break macs <= 7000", results.refused)
    assert "refused, at no trial's cost: " in results.run.log_file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_bound_that_nothing_keeps_is_one_error_that_names_the_closest(
    tmp_path: Path, sampler: str
) -> None:
    file = tiny(constraints=["params <= 100"], search={"sampler": sampler})

    with pytest.raises(UserError, match=r"no more .* that keep .*params <= 100 is violated by 82"):
        run_search(file, tmp_path)


def test_a_bound_on_accuracy_is_checked_after_training(tmp_path: Path) -> None:
    results = run_search(tiny(constraints=["accuracy >= 0.999"]), tmp_path)

    check_whole(results, 6)
    assert results.front == ()
    assert {trial.evaluation.status for trial in results.trials} == {"infeasible"}
    assert all(trial.evaluation.epochs == 1 for trial in results.trials)
    assert all(max(t.constraints.values()) > 0 for t in all_trials(results))


def test_training_that_diverges_makes_a_candidate_infeasible(tmp_path: Path) -> None:
    training = {"learning_rate": 1e30, "optimizer": "sgd", "warmup_epochs": 0, "epochs": 2}

    results = run_search(tiny(training=training, search={"trials": 3}), tmp_path)

    check_whole(results, 3)
    for trial in results.trials:
        assert "training must keep a finite loss" in str(trial.evaluation.reason)
        assert trial.evaluation.values["macs"] > 0
    assert all(trial.constraints["runs"] > 0 for trial in all_trials(results))


def test_a_candidate_that_does_not_fit_in_memory_is_infeasible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.nn.memory.free_bytes", lambda: 10**7)
    stage = STAGE | {"depth": 1, "width": [8, 2**16]}
    file = tiny(space={"stages": [stage]}, search={"trials": 8, "sampler": "random"})

    results = run_search(file, tmp_path)

    check_whole(results, 8)
    large = [trial for trial in results.trials if trial.evaluation.values["params"] > 1e6]
    assert 0 < len(large) < 8
    assert all("training must fit in memory" in str(t.evaluation.reason) for t in large)
    assert len(results.feasible) == 8 - len(large)


def test_a_network_of_more_numbers_than_any_file_may_hold_costs_no_trial(tmp_path: Path) -> None:
    stage = STAGE | {"depth": 2, "width": [8, 2**16]}
    file = tiny(space={"stages": [stage]}, search={"trials": 4, "sampler": "random"})

    results = run_search(file, tmp_path)

    check_whole(results, 4)
    assert all(trial.evaluation.values["params"] < 1e5 for trial in results.trials)
    assert "hold more than 2147483648 numbers together" in results.refused


def test_a_candidate_that_trains_for_too_long_is_infeasible(tmp_path: Path) -> None:
    results = run_search(tiny(search={"trials": 2, "training_limit_s": 1e-6}), tmp_path)

    check_whole(results, 2)
    for trial in results.trials:
        assert "training must end within search.training_limit_s" in str(trial.evaluation.reason)
        assert trial.evaluation.epochs == 0


def test_a_space_that_is_used_up_ends_the_search_with_a_warning(tmp_path: Path) -> None:
    space = {"stem": {"width": 8, "stride": 2}, "stages": [STAGE | {"depth": 1, "width": [8, 16]}]}

    results = run_search(tiny(space=space, search={"trials": 50}), tmp_path)

    check_whole(results, 8)
    log = results.run.log_file.read_text()
    assert log.count("WARNING space 'tiny' has no more architectures") == 1
    assert results.used_up


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_sampler_that_repeats_itself_is_left_alone_until_the_space_is_used_up(
    tmp_path: Path, sampler: str
) -> None:
    said: list[str] = []
    space = {"stem": {"width": 8, "stride": 2}, "stages": [STAGE | {"depth": 1, "width": [8, 16]}]}

    results = run_search(
        tiny(space=space, search={"trials": 50, "sampler": sampler}),
        tmp_path,
        on_note=said.append,
    )

    check_whole(results, 8)
    assert said == [
        "the sampler repeats itself: 100 proposals in a row were known already; going on with "
        "random architectures that are new"
    ]
    assert results.used_up
    assert results.ending.startswith("space 'tiny' has no more architectures")


@pytest.mark.sweep(2)
@pytest.mark.parametrize("how", [interrupt, fail])
def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, how: Callable[[], None]
) -> None:
    file = tiny(search={"trials": 9}, baselines=["lenet_300_100"])
    whole = run_search(file, tmp_path / "whole")

    for number in (3, 5):
        stop = stopping_after(number, how)
        if how is fail:
            with pytest.raises(RuntimeError, match="the power went"):
                run_search(file, tmp_path, resume=True, on_progress=stop)
        else:
            partly = run_search(file, tmp_path, resume=True, on_progress=stop)
            assert len(partly.searched) == number
    results = run_search(file, tmp_path, resume=True)

    check_whole(results, 9)
    assert found(results) == found(whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_search_proposes_new_architectures(tmp_path: Path, sampler: str) -> None:
    def file(trials: int) -> RunFile:
        return tiny(search={"trials": trials, "sampler": sampler})

    run_search(file(8), tmp_path)

    results = run_search(file(16), tmp_path, resume=True)

    check_whole(results, 16)
    assert results.num_duplicates < 16


def test_a_finished_search_is_left_as_it_is(tmp_path: Path) -> None:
    first = run_search(tiny(), tmp_path)
    journal = first.run.journal.read_bytes()
    seen: list[Progress] = []

    again = run_search(tiny(), tmp_path, resume=True, on_progress=seen.append)

    assert found(again) == found(first)
    assert seen == []
    assert len(all_trials(again)) == 6
    assert again.run.journal.read_bytes().startswith(journal)


def test_a_trial_that_was_killed_under_way_is_taken_up_again(tmp_path: Path) -> None:
    whole = run_search(tiny(search={"trials": 9}), tmp_path / "whole")
    partly = run_search(tiny(search={"trials": 4}), tmp_path)
    killed = whole.trials[4]
    storage = open_storage(None, partly.run.journal)
    (study,) = storage.get_all_studies()
    trial = storage.create_new_trial(study._study_id)
    storage.set_trial_user_attr(trial, HASH, killed.hash)
    template = next(t for t in all_trials(whole) if t.number == killed.number)
    for name, value in template.params.items():
        distribution = template.distributions[name]
        storage.set_trial_param(trial, name, distribution.to_internal_repr(value), distribution)
    assert load_results(tmp_path / "tiny").num_running == 1

    results = run_search(tiny(search={"trials": 9}), tmp_path, resume=True)

    check_whole(results, 9)
    assert found(results) == found(whole)
    assert results.num_failed == 1


def test_an_evaluation_that_was_filed_but_not_told_is_not_made_again(tmp_path: Path) -> None:
    whole = run_search(tiny(), tmp_path / "whole")
    marked = whole.trials[3]
    partly = run_search(tiny(search={"trials": 3}), tmp_path)
    for folder in ("architectures", "evaluations", "weights"):
        (source,) = (whole.run.path / folder).glob(f"{marked.hash}.*")
        (partly.run.path / folder / source.name).write_bytes(source.read_bytes())
    data = json.loads(partly.run.evaluation_file(marked.hash).read_text())
    data["seconds"] = {"training": 12345.0}
    partly.run.evaluation_file(marked.hash).write_text(json.dumps(data))

    results = run_search(tiny(), tmp_path, resume=True)

    check_whole(results, 6)
    assert results.trials[3].evaluation.seconds == {"training": 12345.0}


def test_what_a_run_has_lost_is_evaluated_again(tmp_path: Path) -> None:
    file = tiny(baselines=["lenet_300_100"])
    first = run_search(file, tmp_path)
    for trial in (first.trials[0], first.trials[2]):
        first.run.evaluation_file(trial.hash).unlink()
    with pytest.raises(UserError, match=r"is missing; restore it, or go on with --resume"):
        load_results(first.run.path)

    again = run_search(file, tmp_path, resume=True)

    assert found(again) == found(first)


def test_a_damaged_evaluation_is_named_and_may_be_deleted(tmp_path: Path) -> None:
    first = run_search(tiny(), tmp_path)
    path = first.run.evaluation_file(first.trials[1].hash)
    path.write_text(path.read_text()[:40])

    with pytest.raises(UserError, match=r"is damaged .*; delete it and go on with --resume"):
        run_search(tiny(), tmp_path, resume=True)
    path.unlink()

    assert found(run_search(tiny(), tmp_path, resume=True)) == found(first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"seed": 7}}, r"\(search\.seed: 0 -> 7\); restore these values"),
        ({"training": {"epochs": 2}}, r"\(training\.epochs: 1 -> 2\)"),
        ({"objectives": ["accuracy", "params"]}, r"\(objectives: \['accuracy', 'macs'\] -> "),
        (
            {"search": {"storage": "postgresql://me:secret@host/db"}},
            r"search\.storage: None -> 'postgresql://me@host/db'",
        ),
    ],
)
def test_a_resumed_search_must_mean_the_same(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    before = run_search(tiny(search={"trials": 2}), tmp_path).run.config_file.read_text()

    with pytest.raises(UserError, match=message):
        run_search(tiny(**changes), tmp_path, resume=True)

    assert (tmp_path / "tiny" / "config.yaml").read_text() == before


def test_a_run_from_before_a_key_was_there_is_resumed_at_its_default(tmp_path: Path) -> None:
    first = run_search(tiny(search={"trials": 2}), tmp_path)
    data = yaml_text.load(first.run.config_file.read_text())
    del data["search"]["avoid_useless"], data["space"]["stem"]["precision"]
    first.run.config_file.write_text(yaml_text.dump(data))

    check_whole(run_search(tiny(search={"trials": 3}), tmp_path, resume=True), 3)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    first = run_search(tiny(), tmp_path)

    with pytest.raises(UserError, match="already holds a run; continue it with --resume"):
        run_search(tiny(), tmp_path)

    assert found(load_results(first.run.path)) == found(first)


def test_a_second_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = run_search(tiny(search={"trials": 2}), tmp_path).run

    with lock_run(run), pytest.raises(UserError, match=f"searched by process {os.getpid()}"):
        run_search(tiny(), tmp_path, resume=True)


def test_a_wrong_configuration_leaves_no_run_behind(tmp_path: Path) -> None:
    for changes, message in (
        ({"data": {"train": 5000}}, "train split must have"),
        ({"latency": {"device": "toaster"}}, "toaster"),
        ({"search": {"storage": "sqlite:////no/such/folder/a.db"}}, "cannot open study storage"),
        ({"baselines": [{"network": "vgg16", "resolution": 8}]}, "vgg16 @8"),
    ):
        with pytest.raises(UserError, match=message):
            run_search(tiny(**changes), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_killed_while_it_was_made_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "tiny" / "evaluations").mkdir(parents=True)

    check_whole(run_search(tiny(), tmp_path, resume=True), 6)


def test_a_half_written_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    partly = run_search(tiny(search={"trials": 3}), tmp_path)
    with partly.run.journal.open("ab") as file:
        file.write(b'{"op_code":5,"worker_id":"a3')
    (tmp_path / "tiny" / "study.journal.lock").symlink_to(partly.run.journal)

    assert found(load_results(partly.run.path)) == found(partly)
    check_whole(run_search(tiny(), tmp_path, resume=True), 6)


def test_the_study_may_live_in_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    file = tiny(search={"storage": url})

    partly = run_search(file, tmp_path / "a", on_progress=stopping_after(3, interrupt))
    assert len(partly.searched) == 3
    results = run_search(file, tmp_path / "a", resume=True)

    check_whole(results, 6)
    assert not results.run.journal.exists()
    assert found(load_results(results.run.path)) == found(results)


def test_a_database_that_is_lost_on_the_way_is_one_line(tmp_path: Path) -> None:
    database = tmp_path / "studies.db"
    file = tiny(search={"storage": f"sqlite:///{database}"})

    def lose() -> None:
        database.write_bytes(b"nonsense" * 1000)

    with pytest.raises(UserError, match=r"the study's storage sqlite:.* failed \(.*--resume"):
        run_search(file, tmp_path, on_progress=stopping_after(2, lose))


def test_two_runs_do_not_share_a_study(tmp_path: Path) -> None:
    file = tiny(search={"storage": f"sqlite:///{tmp_path}/studies.db"})
    first = run_search(file, tmp_path / "a")

    with pytest.raises(UserError, match="holds a study 'tiny' of another run; choose another nam"):
        run_search(file, tmp_path / "b")

    assert not (tmp_path / "b").exists()
    assert found(load_results(first.run.path)) == found(first)


def test_trials_are_finished_or_failed_but_never_forgotten(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run_search(tiny(), tmp_path, on_progress=stopping_after(2, fail))

    results = run_search(tiny(), tmp_path, resume=True)

    states = [trial.state for trial in all_trials(results)]
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}
    assert states.count(TrialState.COMPLETE) == 6


def test_files_that_a_killed_search_was_writing_are_removed(tmp_path: Path) -> None:
    run = run_search(tiny(search={"trials": 2}), tmp_path).run
    left = run.path / "evaluations" / ".abc.json.123.part"
    left.write_text("{")

    run_search(tiny(), tmp_path, resume=True)

    assert not left.exists()
    assert isinstance(run, RunFolder)


class LosingWorkers:
    """Loses a worker so many times for each candidate, before it evaluates here after all."""

    slots = 2

    def __init__(self, inner: Workers, losses: int, is_candidates_fault: bool) -> None:
        self.inner = inner
        self.losses = losses
        self.is_candidates_fault = is_candidates_fault
        self.lost: Counter[str] = Counter()

    def submit(self, architecture: Architecture) -> "Future[str]":
        key = graph_hash(architecture.graph)
        if self.lost[key] == self.losses:
            return self.inner.submit(architecture)
        self.lost[key] += 1
        future: Future[str] = Future()
        fault = self.is_candidates_fault
        future.set_exception(WorkerLostError("its node went away", is_candidates_fault=fault))
        return future

    def has_another_try(self, architecture: Architecture) -> bool:
        return self.lost[graph_hash(architecture.graph)] < 2

    def give_up(self, architecture: Architecture) -> Evaluation:
        return self.inner.give_up(architecture)


@dataclass(frozen=True)
class LosingPlace:
    """This machine, with workers that get lost."""

    losses: int
    is_candidates_fault: bool
    here: LocalPlace = field(default_factory=lambda: LocalPlace(Instruments()))

    @property
    def is_here(self) -> bool:
        return self.here.is_here

    def prepare(self, config: RunConfig, /) -> Setting:
        return self.here.prepare(config)

    @contextmanager
    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> Iterator[OpenPlace]:
        with self.here.open(config, run, setting, model) as found:
            workers = LosingWorkers(found.workers, self.losses, self.is_candidates_fault)
            yield OpenPlace(workers, found.measurer)


def test_workers_that_are_lost_by_nobodys_fault_cost_a_candidate_nothing(tmp_path: Path) -> None:
    results = run_search(tiny(search={"trials": 3}), tmp_path, place=LosingPlace(9, False))

    check_whole(results, 3)
    assert len(results.feasible) == 3
    assert results.run.log_file.read_text().count("was lost: its node went away") == 27


def test_a_place_that_loses_every_worker_ends_the_search_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lost 10 times by no fault of its own \(last: its node"):
        run_search(tiny(search={"trials": 3}), tmp_path, place=LosingPlace(10, False))

    check_whole(run_search(tiny(search={"trials": 3}), tmp_path, resume=True), 3)


def test_a_candidate_that_loses_its_workers_twice_is_infeasible(tmp_path: Path) -> None:
    results = run_search(tiny(search={"trials": 3}), tmp_path, place=LosingPlace(2, True))

    check_whole(results, 3)
    assert results.feasible == ()
