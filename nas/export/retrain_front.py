"""Retraining a front: each of its networks trained from nothing, and the front of what they are.

Accuracies that a search found with inherited weights, or in few epochs, are of no final worth.
What is trained already by the same recipe is not trained again, so that it may be interrupted.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from nas.evaluation.archive_size import archive_value, needs_archive
from nas.export.retrain import (
    RetrainResult,
    for_epochs,
    load_retrained,
    retrain,
    retrained_file,
    with_teacher,
)
from nas.problem.search_problem import Setting, load_setting
from nas.problem.training_config import TrainingConfig
from nas.runs.files import read_json
from nas.runs.findings.retrained_front import (
    RetrainedNetwork,
    with_front,
    write_retrained_front,
)
from nas.runs.summary import check_same_data
from nas.study.results import RunResults, TrialResult
from nas.training.loop import EpochReport
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


class Watcher(Protocol):
    """Is told how far the retraining of a front is."""

    def begin(self, trial: TrialResult, number: int, of: int) -> None:
        """Called before each network, numbered from 1, also where it is trained already."""
        ...

    def epoch(self, report: EpochReport) -> None: ...


@dataclass(frozen=True, slots=True)
class Silent:
    """Watches nothing."""

    def begin(self, trial: TrialResult, number: int, of: int) -> None: ...

    def epoch(self, report: EpochReport) -> None: ...


SILENT = Silent()


def retrain_front(
    results: RunResults,
    epochs: int | None = None,
    *,
    baselines: bool = False,
    teacher: Path | None = None,
    setting: Setting | None = None,
    watcher: Watcher = SILENT,
    say: Callable[[str], None] = lambda note: None,
) -> tuple[RetrainedNetwork, ...]:
    """Trains every network of the front from nothing, and returns what they are then.

    The front of them is written to ``retrained_front.json``. A network that was given with its
    weights is taken as it is.

    Args:
        epochs: None takes those of the search.
        baselines: Whether the run's published networks that are feasible are trained too, to be
            held against by the same recipe.
        teacher: A model folder to learn from; None takes that of the run, if it has one.
        setting: The run's data, where it is loaded already.
        say: Told what of the recipe does not fit so few epochs.

    Raises:
        UserError: If there is no front, the data differs from what the search saw, or a training
            fails; what was trained before is kept.
    """
    front = results.front
    if not front:
        raise UserError(f"{results.run.path}: {results.why_nothing}")
    setting = setting or load_setting(results.config)
    check_same_data(results.run.data_file, setting.splits)
    recipe = results.config.training
    count = recipe.epochs if epochs is None else epochs
    config = with_teacher(for_epochs(recipe, count), teacher)
    trials = with_baselines(results) if baselines else front
    networks = []
    for number, trial in enumerate(trials, 1):
        watcher.begin(trial, number, len(trials))
        if not trial.evaluation.epochs:
            networks.append(RetrainedNetwork(trial.hash, trial.evaluation.values, 0))
            continue
        if (known := trained_already(results, trial, config)) is None:
            retrain(
                results,
                trial,
                count,
                teacher=teacher,
                setting=setting,
                on_epoch=watcher.epoch,
                say=say,
            )
            known = load_retrained(results.run, trial.hash)
        networks.append(retrained_network(results, trial, *known))
    told = with_front(networks, results.metrics)
    write_retrained_front(results.run, told)
    return told


def with_baselines(results: RunResults) -> tuple[TrialResult, ...]:
    """Returns the front, then the feasible baselines that are not on it."""
    front = {trial.hash for trial in results.front}
    others = (trial for trial in results.baselines if trial.hash not in front)
    return (*results.front, *(trial for trial in others if trial.evaluation.feasible))


def trained_already(
    results: RunResults, trial: TrialResult, config: TrainingConfig
) -> tuple[Model, RetrainResult] | None:
    """Returns a retrained network that is on file by this very recipe; None where none is."""
    path = retrained_file(results.run, trial.hash).with_suffix(".json")
    try:
        known = load_retrained(results.run, trial.hash)
        told = read_json(path).get("training")
    except (UserError, FileNotFoundError):
        return None
    is_same = told == plain(config) and not known[1].with_validation
    return known if is_same and known[1].validation_values else None


def plain(config: TrainingConfig) -> object:
    """Returns a recipe as it is read back from JSON."""
    return json.loads(json.dumps(asdict(config)))


def retrained_network(
    results: RunResults, trial: TrialResult, model: Model, found: RetrainResult
) -> RetrainedNetwork:
    values = {**trial.evaluation.values, **found.validation_values}
    if needs_archive(results.config):
        values |= archive_value(model)
    return RetrainedNetwork(trial.hash, values, found.epochs, test_values=found.test_values)
