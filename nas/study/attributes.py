"""Carried: what the trials of a shared study carry for drivers without the run folder of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.problem.metrics import Metric
from nas.runs.activity import host_of
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.files import read_json
from nas.runs.folder import Elsewhere, RunFolder, checked
from nas.study.names import (
    ARCHITECTURE,
    BASELINE,
    DRIVER,
    EPOCHS,
    EVALUATION,
    GIVEN_BACK,
    HASH,
    REPLACED,
    TICKET,
)
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as


def carry(trial: optuna.Trial, run: RunFolder, evaluation: Evaluation) -> None:
    """Writes to a trial what drivers without its run folder cannot know."""
    path = run.architecture_file(evaluation.hash)
    if path.exists():
        trial.set_user_attr(ARCHITECTURE, read_json(path))
    trial.set_user_attr(EVALUATION, evaluation_to_json(evaluation))


# What drivers write to a trial.
KINDS: Mapping[str, Any] = {
    **dict.fromkeys((HASH, BASELINE, DRIVER, GIVEN_BACK), str),
    **dict.fromkeys((EPOCHS, TICKET), int),
    **dict.fromkeys((EVALUATION, ARCHITECTURE), Mapping[str, Any]),
    REPLACED: tuple[Any, ...],
}


def check_trials(trials: Iterable[FrozenTrial]) -> None:
    """Makes sure that trials say of themselves what the drivers of a study rely on.

    Raises:
        UserError: If one does not: the study is damaged.
    """
    for trial in trials:
        at = f"the study is damaged: trial {trial.number}'s"
        for name in KINDS.keys() & trial.user_attrs.keys():
            read_as(KINDS[name], trial.user_attrs[name], f"{at} {name}")
        if trial.state == TrialState.COMPLETE:
            checked(trial.user_attrs.get(HASH, ""))


def evaluation_of(run: RunFolder, trial: FrozenTrial) -> Evaluation | None:
    """Returns what a finished trial was told; what is on file here only where that says more.

    Several drivers may have evaluated an architecture, one killed before it told the study.
    """
    filed, carried = run.load_evaluation(trial.user_attrs[HASH]), carried_evaluation(trial)
    if filed is None or carried is None:
        return filed or carried
    return filed if carried.unsure - filed.unsure else carried


def carried_evaluation(trial: FrozenTrial) -> Evaluation | None:
    """Returns the evaluation that a trial of a shared study carries, or None.

    Raises:
        UserError: If it is damaged.
    """
    if EVALUATION not in trial.user_attrs:
        return None
    try:
        evaluation = evaluation_from_json(trial.user_attrs[EVALUATION])
    except ValueError as error:
        raise UserError(
            f"trial {trial.number} of the study carries a damaged evaluation ({error}); search "
            "anew with --set name=NAME"
        ) from None
    return evaluation if evaluation.hash == trial.user_attrs[HASH] else None


def carried_architecture(trial: FrozenTrial) -> dict[str, Elsewhere]:
    """Returns the architecture that a trial of a shared study carries, by its hash, if any."""
    if ARCHITECTURE not in trial.user_attrs:
        return {}
    host = host_of(trial.user_attrs.get(DRIVER, "another machine"))
    return {trial.user_attrs[HASH]: Elsewhere(host, trial.user_attrs[ARCHITECTURE])}


def is_fully_known(trial: FrozenTrial, metrics: Sequence[Metric]) -> bool:
    """Whether every value that a finished trial was told was found out.

    A sampler needs a value for each objective, so where one could not be had (a candidate that
    broke a constraint was not trained) the trial was told the worst.
    """
    trained = trial.user_attrs.get(EPOCHS, 0) > 0
    return all(
        value != metric.worst or (metric.phase == "training" and trained)
        for value, metric in zip(trial.values or (), metrics, strict=True)
    )


def known_evaluation(trials: Sequence[FrozenTrial], key: str) -> Evaluation | None:
    """Returns what another driver found out about an architecture, as its trial carries it."""
    told = (t for t in trials if t.state == TrialState.COMPLETE and t.user_attrs[HASH] == key)
    return next((found for t in told if (found := carried_evaluation(t)) is not None), None)
