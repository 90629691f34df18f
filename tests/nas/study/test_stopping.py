"""Trainings that were stopped early count as evaluated, and are in no front, pick or parent."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial
from typer.testing import CliRunner

from latency_models.prediction.predictor import Predictor
from nas.cli import app
from nas.cli.terminal.trial_lines import trial_lines
from nas.evaluation.early_stopping import Rungs
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments
from nas.evaluation.place import LocalPlace, OpenPlace
from nas.evaluation.processes import local_workers
from nas.problem.metrics import METRICS
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting
from nas.report.drawing.axes import planes
from nas.report.drawing.charts import front_chart
from nas.report.page import write_report
from nas.runs.evaluation import Evaluation
from nas.runs.findings.front import front_json
from nas.runs.findings.importance import gene_importance
from nas.runs.folder import RunFolder
from nas.search.loop import Progress
from nas.search.proposals.evolution import best_trials
from nas.search.run import run_search
from nas.study.results import RunResults
from nas.study.stopping import count_rungs, in_one_line, why_unfinished
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from nas.training.loop import EpochReport
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import baseline, make_run, run_file
from tests.nas.parts.tiny import tiny

STOPPED = {1: 3, 4: 1, 6: 1, 8: 3, 10: 1}  # trial to its last epoch, of 9
TWO = (METRICS["accuracy"], METRICS["macs"])


def stopped(evaluation: Evaluation, epoch: int, accuracy: float = 2.0) -> Evaluation:
    """A stopped training whose accuracy would beat all others if it counted."""
    return replace(
        evaluation,
        status="stopped",
        reason=f"stopped after {epoch} of 9 epochs by early stopping",
        epochs=epoch,
        values={**evaluation.values, "accuracy": accuracy},
    )


def edit(number: int, evaluation: Evaluation) -> Evaluation:
    if number in STOPPED:
        return stopped(evaluation, STOPPED[number])
    if number == 5:
        return replace(evaluation, status="infeasible", reason="it crashed", epochs=0)
    return replace(evaluation, epochs=9)


def made(folder: Path, trials: int = 30) -> RunResults:
    """A run whose trials 0 and 1 are baselines, the second of them stopped."""
    file = run_file(
        trials=trials,
        training={"epochs": 9, "device": "cpu"},
        search={"trials": trials, "early_stopping": {"grace_epochs": 1, "reduction": 3}},
    )
    networks = {"tiny_net": baseline("tiny_net", 8), "small_net": baseline("small_net", 20)}
    return make_run(folder, file=file, trials=trials, baselines=networks, edit=edit)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return made(tmp_path_factory.mktemp("run"))


class Seen(HTMLParser):
    """Collects what a reader of a page sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def seen(page: str) -> str:
    return " ".join(" ".join(Seen(page).parts).split())


def test_a_stopped_training_is_neither_feasible_nor_infeasible(results: RunResults) -> None:
    assert {trial.number for trial in results.stopped} == STOPPED.keys()
    assert [trial.number for trial in results.infeasible] == [5]
    assert len(results.feasible) + len(results.stopped) + 1 == len(results.trials) == 32


def test_the_front_and_what_is_made_of_it_hold_no_stopped_training(
    results: RunResults,
) -> None:
    assert {trial.number for trial in results.front}.isdisjoint(STOPPED)
    for which in ("best", "knee", "fastest"):
        assert results.pick(which) in results.feasible
    assert results.reference[0] < 1
    rows = front_json(results)["front"]
    assert all(row["epochs"] == 9 and row["feasible"] for row in rows)


def test_a_stopped_trial_cannot_be_picked_by_its_number(results: RunResults) -> None:
    assert results.pick("7").number == 7
    with pytest.raises(UserError, match=r"trial 4 was stopped after 1 of 9 epochs by early stop"):
        results.pick("4")


def test_what_was_stopped_is_counted_rung_by_rung(results: RunResults) -> None:
    counts = [(r.epoch, r.reached, r.stopped, r.saved) for r in count_rungs(results)]

    assert counts == [(1, 31, 3, 24), (3, 28, 2, 12)]
    assert in_one_line(results) == (
        "stopped early: 5 of 31 trainings (3 after epoch 1, 2 after epoch 3); 36 of 279 epochs "
        "saved (12.90 %)"
    )


def test_without_early_stopping_there_is_nothing_to_count(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=3)

    assert (count_rungs(results), in_one_line(results)) == ((), "")
    page = seen(write_report(results).read_text())
    assert "No training was to be stopped early" in page
    assert "were stopped early" not in page


def test_where_nothing_was_stopped_yet_the_line_says_so(tmp_path: Path) -> None:
    results = replace(made(tmp_path, trials=1), trials=())

    assert in_one_line(results) == "stopped early: 0 of 0 trainings"


def test_the_report_tells_stopped_trainings_from_infeasible_ones(results: RunResults) -> None:
    page = seen(write_report(results).read_text())

    assert "make up the front; 5 were stopped early." in page
    assert "Stopped early: 5 of 31 trainings (3 after epoch 1, 2 after epoch 3)" in page
    assert "epoch 1 31 3 24 epoch 3 28 2 12" in page
    assert "small_net 200.00 %" in page
    assert "stopped after 3 of 9 epochs by early stopping" in page
    assert "infeasible: stopped" not in page
    assert "it crashed 1 trial 5: it crashed" in page
    assert "early stopping after epoch 1, 3 goes on what is among the best 1 / 3" in page
    assert "1 were stopped early" in page[page.index("Of 2 published networks") :]


def test_the_chart_of_the_front_draws_stopped_trainings_as_rings(results: RunResults) -> None:
    figure = front_chart(results, planes(results.metrics)[0], None)
    (rings,) = [trace for trace in figure.data if trace.name == "stopped early"]
    others = [trace for trace in figure.data if trace is not rings]

    assert rings.marker.symbol == "circle-open"
    assert list(rings.y) == [2.0] * 5
    assert all("stopped after" in text for text in rings.text)
    assert all(y < 1 for trace in others for y in trace.y)


def test_genes_are_not_judged_by_accuracies_of_few_epochs(results: RunResults) -> None:
    for name, count in (("accuracy", 26), ("latency_ms", 30)):
        found = gene_importance(results.searched, METRICS[name])
        assert found is not None
        assert found.num_trials == count


def test_the_line_of_a_trial_says_why_it_is_unfinished(results: RunResults) -> None:
    by_number = {trial.number: trial.evaluation for trial in results.trials}
    shown = trial_lines(results.config, room=None)
    lines = {n: shown.line(Progress(1, 2, f"trial {n}", by_number[n])) for n in (4, 5, 7)}

    assert lines[4].endswith("  stopped after 1 of 9 epochs by early stopping")
    assert lines[5].endswith("  infeasible: it crashed")
    assert why_unfinished(by_number[7]) == ""


def test_status_tells_how_many_were_stopped_and_how_many_are_infeasible(
    results: RunResults,
) -> None:
    shown = CliRunner().invoke(app, ["status", str(results.run.path)]).output

    assert "infeasible 1," in shown
    assert "stopped early: 5 of 31 trainings" in shown


def share_of_shallow(sampler: BaseSampler, constraints_of_deep: Mapping[str, float]) -> float:
    """The sampler's late choices where deep networks are never fully trained, and seem better."""
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    found = []
    for number in range(60):
        trial = study.ask()
        depth = trial.suggest_categorical("depth", ["shallow", "deep"])
        found.append(depth == "shallow")
        for rule, excess in constraints_of_deep.items():
            if depth == "deep":
                trial.set_constraint(rule, excess)
        study.tell(trial, [0.99, 1.0] if depth == "deep" else [0.5 + number / 100, 100.0 - number])
    return sum(found[40:]) / 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: TPESampler(seed=0),
        lambda: NSGAIISampler(seed=0, population_size=10, mutation_prob=0.0),
    ],
    ids=["tpe", "nsga2"],
)
def test_no_sampler_of_optuna_follows_accuracies_of_few_epochs(
    make: Callable[[], BaseSampler],
) -> None:
    assert share_of_shallow(make(), {}) < 0.2
    assert share_of_shallow(make(), {"fully trained": 8 / 9}) > 0.8


def finished_trial(number: int, accuracy: float, untrained: float) -> FrozenTrial:
    trial = optuna.trial.create_trial(
        params={"layers": number},
        distributions={"layers": optuna.distributions.IntDistribution(1, 20)},
        values=[accuracy, 100.0 + number],
        constraints={"fully trained": untrained} if untrained else {},
    )
    trial.number = number
    return trial


def test_evolution_breeds_from_no_stopped_network_where_others_are_feasible() -> None:
    full = [finished_trial(number, 0.5 + number / 100, 0.0) for number in range(1, 6)]
    few = [finished_trial(number, 0.99, 8 / 9) for number in range(6, 11)]
    more = [finished_trial(number, 0.99, 2 / 3) for number in range(11, 13)]

    assert best_trials([*few, *full, *more], TWO) == full
    # Where all were stopped, those that came furthest are the best there is.
    assert best_trials([*few, *more], TWO) == more


@dataclass(frozen=True)
class RungPlace(LocalPlace):
    """This process, its trainings asked at every rung."""

    @contextmanager
    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> Iterator[OpenPlace]:
        rungs = Rungs(run, config)

        def may_go_on(key: str, values: Mapping[str, float], report: EpochReport) -> bool:
            return rungs.may_go_on(key, values, report.epoch, report.scores)

        checkpoints = FolderCheckpoints(run.checkpoints)
        training = LocalTraining(config, setting.tensors, checkpoints, may_go_on)
        evaluator = Evaluator(config, training, None, run)
        with (
            self.instruments.measurer(config) as measurer,
            local_workers(config, run, evaluator, self.instruments) as workers,
        ):
            yield OpenPlace(workers, measurer)


def test_a_search_stops_what_is_outrun_and_counts_it(tmp_path: Path) -> None:
    file = tiny(
        training={"epochs": 4},
        search={"trials": 12, "early_stopping": {"grace_epochs": 1, "reduction": 3}},
    )

    results = run_search(file, tmp_path, place=RungPlace(Instruments()))

    assert len(results.searched) == 12
    assert results.stopped
    assert {trial.evaluation.epochs for trial in results.stopped} <= {1, 3}
    assert {trial.evaluation.epochs for trial in results.front} == {4}
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(results.run.journal))
    )
    (study,) = storage.get_all_studies()
    told = {trial.number: trial for trial in storage.get_all_trials(study._study_id)}
    for trial in results.trials:
        evaluation, frozen = trial.evaluation, told[trial.number]
        assert frozen.user_attrs["epochs"] == evaluation.epochs
        untrained = 1 - evaluation.epochs / 4
        is_stopped = trial in results.stopped
        assert frozen.constraints == ({"fully trained": untrained} if is_stopped else {})
    again = run_search(file, tmp_path, resume=True, place=RungPlace(Instruments()))
    assert again.trials == results.trials
