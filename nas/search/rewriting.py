"""Rewriting: the study of a run, told anew by what is now known and asked.

Optuna keeps what a finished trial was told for good, and a study's objectives too, so a changed
run gets a new journal. Trials keep their numbers; what is to be evaluated again fails in its place
and is queued behind the others.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.study.names import HASH
from nas.study.storages import open_storage
from nas.study.study import open_study, queued_attributes, told_constraints, told_values


def rewrite_journal(
    journal: Path,
    config: RunConfig,
    kept: Mapping[str, Evaluation],
    again: Collection[str],
) -> None:
    """Writes the journal of a study anew; it takes the place of the old one as a whole.

    Nobody else may work on it.

    Args:
        kept: What is known, by hash.
        again: Hashes of what is evaluated again; each is queued once.
    """
    trials = trials_of(journal, config.name)
    part = journal.with_name(f".{journal.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = open_study(config.name, open_storage(None, part), sampler, config.objectives)
    queue: dict[str, FrozenTrial] = {}
    for trial in trials:
        key = str(trial.user_attrs.get(HASH, ""))
        if trial.state == TrialState.COMPLETE and key in kept:
            study.add_trial(told_anew(trial, config, kept[key]))
            continue
        study.add_trial(failed(trial))
        is_open = trial.state in (TrialState.RUNNING, TrialState.WAITING)
        if is_open or (trial.state == TrialState.COMPLETE and key in again):
            queue.setdefault(key or f"trial {trial.number}", trial)
    for trial in queue.values():
        genes = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.enqueue_trial(genes, user_attrs=queued_attributes(trial))
    part.replace(journal)


def trials_of(journal: Path, name: str) -> Sequence[FrozenTrial]:
    storage = open_storage(None, journal)
    return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)


def told_anew(trial: FrozenTrial, config: RunConfig, evaluation: Evaluation) -> FrozenTrial:
    made = create_trial(
        values=told_values(config, evaluation),
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        constraints=told_constraints(config, evaluation),
    )
    made.datetime_start, made.datetime_complete = trial.datetime_start, trial.datetime_complete
    return made


def failed(trial: FrozenTrial) -> FrozenTrial:
    made = create_trial(
        state=TrialState.FAIL,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
    )
    made.datetime_start = trial.datetime_start or made.datetime_start
    made.datetime_complete = trial.datetime_complete or made.datetime_start
    return made
