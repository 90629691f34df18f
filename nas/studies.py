"""Studies: where Optuna keeps the trials, and how a search is taken up again."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from nas.metrics import Metric
from nas.redaction import without_passwords
from nas.sampler import HASH, ArchiveEvolutionSampler
from search_spaces.choice import Choice, Pick, Value
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.space import SearchSpace

BASELINE = "baseline"  # user attribute of a trial: the published network it is
REPLACED = "replaced"  # user attribute of a trial: the useless genes that its proposal had

SAMPLERS: dict[str, str] = {
    "evolution": "archive evolution of whole architectures (the default)",
    "tpe": "Optuna's tree-structured Parzen estimator, multivariate",
    "nsga2": "Optuna's NSGA-II",
    "random": "uniform in each decision",
}


def make_sampler(
    name: str,
    space: SearchSpace,
    metrics: Sequence[Metric],
    *,
    seed: int,
    initial: int,
    affordable: Callable[[Graph], bool],
    begun: int = 0,
) -> BaseSampler:
    """Returns the sampler called ``name``.

    Args:
        begun: Trials that the study has already. Optuna's own samplers draw from one stream of
            random numbers, which would repeat these trials if it began anew.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name == "evolution":
        return ArchiveEvolutionSampler(
            space, metrics, seed=seed, initial=initial, affordable=affordable
        )
    stream = (seed + begun) % 2**32
    if name == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of "multivariate" and "group"
            return TPESampler(seed=stream, multivariate=True, group=True, n_startup_trials=initial)
    if name == "nsga2":
        return NSGAIISampler(seed=stream, population_size=max(8, initial))
    if name == "random":
        return RandomSampler(seed=stream)
    raise UserError(f"unknown sampler {name!r}; known samplers: {', '.join(SAMPLERS)}")


def open_storage(url: str | None, journal: Path) -> BaseStorage:
    """Returns the storage of a study: the run's own journal file, or a database by URL.

    Raises:
        UserError: If the database cannot be reached.
    """
    if url is None:
        return JournalStorage(JournalFileBackend(str(journal)))
    try:
        # A connection a question: none is left open behind a search, or lost while it trains.
        return RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    except Exception as error:  # SQLAlchemy and each driver have their own types
        raise UserError(
            f"cannot open study storage {without_passwords(url)}: {str(error).splitlines()[0]}; "
            "check that the database runs and that the URL reads sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (pip install 'hwnas[postgres]')"
        ) from None


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
) -> optuna.Study:
    """Opens the study, making it where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        directions=[metric.direction for metric in metrics],
        load_if_exists=True,
    )


def refuse_other_study(name: str, url: str | None, journal: Path) -> None:
    """Makes sure that a new run may have a study of this name.

    Raises:
        UserError: If the storage cannot be opened, or has one already.
    """
    if url is None and not journal.exists():
        return
    if name in optuna.get_all_study_names(open_storage(url, journal)):
        raise UserError(
            f"the storage {without_passwords(url or str(journal))} holds a study {name!r} of "
            "another run; choose another name with --set name=NAME, or another storage"
        )


def suggest(trial: optuna.Trial) -> Pick:
    """Lets an Optuna trial decide."""

    def pick(choice: Choice) -> Value:
        return cast(Value, trial.suggest_categorical(choice.name, choice.values))

    return pick


def retake_interrupted(study: optuna.Study) -> int:
    """Puts trials that a killed search left running back in the queue; returns how many.

    A trial that was killed while it was still being asked is dropped: the sampler asks anew.
    Only for a study that nobody else is working on.
    """
    interrupted = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    retaken = 0
    for trial in interrupted:
        study.tell(trial.number, state=TrialState.FAIL)
        genes = trial.system_attrs.get("fixed_params", {}) | trial.params
        if {HASH, BASELINE} & trial.user_attrs.keys() or "fixed_params" in trial.system_attrs:
            kept = (BASELINE, REPLACED)  # the queued genes are those that took their place
            attrs = {k: v for k, v in trial.user_attrs.items() if k in kept}
            study.enqueue_trial(genes, user_attrs=attrs)
            retaken += 1
    return retaken
