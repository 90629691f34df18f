"""Studies: where Optuna keeps the trials, what it is told, and how a search is taken up again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.problem.addresses import without_passwords
from nas.problem.metrics import Metric
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.study.names import ARCHITECTURE, BASELINE, ENQUEUED, GIVEN_BACK, HASH, REPLACED
from nas.study.storages import open_storage
from search_spaces.building.choice import Choice, Pick, Value
from search_spaces.graphs.errors import UserError


def mend_journal(journal: Path) -> None:
    """Cuts off a half-written last line and a lock that a killed process left behind.

    Only for a journal that nobody else has open: the run's lock is held.
    """
    for suffix in (".lock", ".rename"):
        for left in journal.parent.glob(f"{journal.name}{suffix}*"):
            left.unlink(missing_ok=True)
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def open_study(
    name: str,
    storage: BaseStorage,
    sampler: BaseSampler,
    metrics: Sequence[Metric],
    *,
    may_exist: bool = True,
) -> optuna.Study:
    """Opens the study, making it where there is none.

    Args:
        may_exist: Whether a study that is there already is the one.

    Raises:
        UserError: If there is one that may not be.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=sampler,
            directions=[metric.direction for metric in metrics],
            load_if_exists=may_exist,
        )
    except DuplicatedStudyError:
        raise other_study(name) from None


def refuse_other_study(name: str, url: str | None, journal: Path) -> None:
    """Makes sure that a new run may have a study of this name.

    Raises:
        UserError: If the storage cannot be opened, or has one already.
    """
    if url is None and not journal.exists():
        return
    if name in optuna.get_all_study_names(open_storage(url, journal)):
        raise other_study(name, without_passwords(url or str(journal)))


def other_study(name: str, where: str = "") -> UserError:
    storage = f"the storage {where}".strip()
    return UserError(
        f"{storage} holds a study {name!r} of another run; choose another name with --set "
        "name=NAME, or another storage, or take part in it with --join"
    )


def suggest(trial: optuna.Trial) -> Pick:
    """Lets an Optuna trial decide."""

    def pick(choice: Choice) -> Value:
        return cast(Value, trial.suggest_categorical(choice.name, choice.values))

    return pick


def proposed(study: optuna.Study) -> set[str]:
    """Returns hashes of all that was proposed, without what drivers gave back.

    Those that failed count too: what failed as its numbers are none would fail again.
    """
    trials = study.get_trials(deepcopy=False)
    return {str(t.user_attrs[HASH]) for t in trials if HASH in t.user_attrs and not gave_back(t)}


def gave_back(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and GIVEN_BACK in trial.user_attrs


def retake_interrupted(study: optuna.Study) -> int:
    """Puts trials that a killed search left running back in the queue; returns how many.

    Only for a study that nobody else is working on.
    """
    interrupted = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return sum(retake(study, trial) for trial in interrupted)


def retake(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Puts a running trial that nobody works on any more back in the queue.

    A trial that was killed while it was still being asked is dropped: the sampler asks anew. Of
    several drivers that try it at once, one does it.

    Returns:
        Whether it is in the queue, by this call.
    """
    if not tell_if_open(study, trial.number, state=TrialState.FAIL):
        return False
    if not ({HASH, BASELINE} & trial.user_attrs.keys() or "fixed_params" in trial.system_attrs):
        return False
    genes = trial.system_attrs.get("fixed_params", {}) | trial.params
    study.enqueue_trial(genes, user_attrs=queued_attributes(trial))
    return True


def queued_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the attributes that a trial keeps in the queue, where it decides as it did."""
    kept = (BASELINE, ENQUEUED, ARCHITECTURE, REPLACED)
    return {name: value for name, value in trial.user_attrs.items() if name in kept}


def tell_if_open(
    study: optuna.Study,
    trial: optuna.Trial | int,
    values: Sequence[float] | None = None,
    state: TrialState | None = None,
) -> bool:
    """Tells a trial; returns False where another driver has told it or taken it over."""
    try:
        study.tell(trial, values, state=state)
    except UpdateFinishedTrialError:
        return False
    except ValueError:
        number = trial if isinstance(trial, int) else trial.number
        if study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING:
            raise
        return False
    return True


def told_values(config: RunConfig, evaluation: Evaluation) -> list[float]:
    """Returns a value for each objective; its worst where it could not be had."""
    return [evaluation.values.get(m.name, m.worst) for m in config.objectives]


def told_constraints(config: RunConfig, evaluation: Evaluation) -> dict[str, float]:
    """Returns by constraint how far it is exceeded; above 0 for all that is in no front."""
    found = dict(evaluation.violations)
    failed = not evaluation.feasible and not any(v > 0 for v in found.values())
    if evaluation.status == "stopped":  # no sampler shall take its accuracy for a full one
        found["fully trained"] = 1 - evaluation.epochs / config.training.epochs
    elif failed:
        found["runs"] = 1.0
    return found
