"""Search: a run folder made or taken up again, its study, its workers, and the loop over trials.

An evaluation is on disk before its trial is told, so a search that is killed at any moment loses
no finished work.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from latency_models.device import get_device
from nas import yaml_text
from nas.config import RunConfig
from nas.data.summary import check_same_data, data_summary
from nas.evaluator import affordable
from nas.final_front import measure_front
from nas.instruments import Instruments
from nas.kernel_table import KernelTable, KernelTimer
from nas.latency_source import Predictor
from nas.places import LocalPlace, Place
from nas.redaction import without_passwords
from nas.replacing import ReplacingSampler
from nas.results import RunResults, results_of
from nas.run_file import RunFile, differences, read_run_file, to_yaml
from nas.run_folder import (
    DiskFullError,
    RunFolder,
    create_run,
    has_run,
    is_full,
    lock_run,
    open_run,
    read_json,
    refuse_other_run,
    remove_parts,
    write_json,
    write_whole,
)
from nas.search_loop import OnProgress, SearchLoop, ignore_progress, stopping_gently
from nas.setting import Setting, baselines
from nas.studies import (
    BASELINE,
    make_sampler,
    mend_journal,
    open_storage,
    open_study,
    refuse_other_study,
    retake_interrupted,
)
from nas.useless import UselessGenes, why_not
from search_spaces.errors import UserError

MAY_CHANGE = frozenset({"search.trials", "search.workers", "latency.time_limit_s"})

log = logging.getLogger("nas.search")


def do_nothing() -> None:
    """For searches whose start nobody waits for."""


def search(
    file: RunFile,
    runs: Path,
    *,
    resume: bool = False,
    on_start: Callable[[], None] = do_nothing,
    on_progress: OnProgress = ignore_progress,
    instruments: Instruments | None = None,
    place: Place | None = None,
) -> RunResults:
    """Searches as ``file`` says in the folder ``runs / file.name`` and returns what was found.

    Stops early, cleanly, when it is interrupted once (``Ctrl-C``); a second interrupt raises.

    Args:
        resume: Go on with the run that is there.
        on_start: Called once everything that was given is checked, before the first trial.
        instruments: What latencies are found out with; None takes those of the run's device.
        place: Where candidates are evaluated; None takes this machine.

    Raises:
        UserError: If the configuration or data is wrong, the device has no latency model where
            one is needed, the folder holds another run, or the disk is full; nothing that was
            finished is lost.
    """
    config = file.config()
    instruments = instruments or Instruments()
    place = place or LocalPlace(instruments)
    path = runs / config.name
    check_run(file, path, resume)
    setting = place.prepare(config)
    baselines(config, setting.space)
    get_device(config.latency.device)
    model = instruments.needed_model(config)
    # Nothing is written before all that was given is known to be right.
    if has_run(path):
        run = open_run(path)
    else:
        refuse_other_study(config.name, config.search.storage, RunFolder(path).journal)
        run = create_run(path, to_yaml(file))
    with ExitStack() as resources:
        resources.enter_context(naming_lost_storage(config, run))
        resources.enter_context(lock_run(run))
        remove_parts(run)
        resources.enter_context(logging_to(run.log_file))
        if resume:  # trials and workers may have been changed
            write_whole(run.config_file, to_yaml(file).encode())
        if run.data_file.exists():
            check_same_data(run.data_file, setting.splits)
        write_json(run.data_file, data_summary(setting.splits))
        study = take_up_study(config, run, setting)
        if model is not None:
            note_model(run, model)
        found = resources.enter_context(place.open(config, run, setting, model))
        if reason := why_not(config):
            log.info("useless precisions are not looked for: %s", reason)
        else:
            avoid_useless(study, setting, found.measurer, run)
        loop = SearchLoop(config, run, setting, study, found.workers, on_progress)
        on_start()

        def read_results() -> RunResults:
            return results_of(run, config, study.get_trials(deepcopy=False))

        with stopping_gently(loop):
            loop.run_all()
            measure_front(read_results, found.measurer, lambda: loop.stopping)
        return replace(read_results(), used_up=loop.used_up)


def note_model(run: RunFolder, model: Predictor) -> None:
    """Keeps in the run which latency model predicts in it."""
    about = dict(model.about)
    path = run.latency_model_file
    if path.exists() and read_json(path) != about:
        log.warning("the device has another latency model than when the run began")
    write_json(path, about)


def avoid_useless(
    study: optuna.Study, setting: Setting, timer: KernelTimer, run: RunFolder
) -> None:
    """Lets the study's sampler propose no precision that is slower and no smaller than another."""
    useless = UselessGenes(setting.space, KernelTable(timer, run.kernel_table_file))
    study.sampler = ReplacingSampler(study.sampler, setting.space, useless)


def check_run(file: RunFile, path: Path, resume: bool) -> None:
    """Checks that the run's folder is free, or may be gone on with.

    Raises:
        UserError: If it holds a run and ``resume`` is off, or its configuration differs.
    """
    if not resume:
        refuse_other_run(path)
    if not has_run(path):
        return
    run = open_run(path)
    # Read as a run file, so that keys younger than the run count at their defaults.
    before = to_yaml(read_run_file(run.config_file))
    changed = [
        without_passwords(line)
        for line in differences(yaml_text.load(before), yaml_text.load(to_yaml(file)))
        if line.partition(":")[0] not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"{path} was searched with another configuration ({'; '.join(changed)}); restore "
            f"these values (the run's own are in {run.config_file}), or start anew with "
            "--set name=NAME"
        )


def take_up_study(config: RunConfig, run: RunFolder, setting: Setting) -> optuna.Study:
    """Opens the study and queues the baselines and the trials that an earlier kill interrupted.

    Raises:
        UserError: If the storage cannot be opened.
    """
    sampler = partial(
        make_sampler,
        config.search.sampler,
        setting.space,
        config.objectives,
        seed=config.search.seed,
        initial=config.search.initial,
        affordable=partial(affordable, config),
    )
    if config.search.storage is None:
        mend_journal(run.journal)
    storage = open_storage(config.search.storage, run.journal)
    study = open_study(config.name, storage, sampler(), config.objectives)
    study.sampler = sampler(begun=len(study.get_trials(deepcopy=False)))
    if retaken := retake_interrupted(study):
        log.info("taking up %d interrupted trials", retaken)
    trials = study.get_trials(deepcopy=False)
    known = {t.user_attrs.get(BASELINE) for t in trials if t.state != TrialState.FAIL}
    for name, architecture in baselines(config, setting.space).items():
        if name not in known:
            study.enqueue_trial(dict(architecture.genes), user_attrs={BASELINE: name})
    return study


class RunLog(logging.FileHandler):
    """A log whose failures are the search's."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        raise


@contextmanager
def naming_lost_storage(config: RunConfig, run: RunFolder) -> Iterator[None]:
    """Turns a full disk and a lost database into errors that say how to go on."""
    try:
        yield
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"the study's storage {without_passwords(config.search.storage or str(run.journal))} "
            f"failed ({reason}); what is finished is kept; put it right and go on with --resume"
        ) from error
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: cannot write to {run.path}; everything finished so far is "
                "kept; free some space and go on with --resume"
            ) from error
        raise


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Writes the search's log to a file of the run, each line with its time."""
    handler = RunLog(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
