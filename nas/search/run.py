"""Search: a run folder made or taken up again, its study, its workers, and the loop over trials.

An evaluation is on disk before its trial is told, so a search that is killed at any moment loses
no finished work.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError

from latency_models.devices.device import get_device
from latency_models.prediction.predictor import Predictor
from nas.evaluation.instruments import Instruments
from nas.evaluation.kernel_table import KernelTable, KernelTimer
from nas.evaluation.place import LocalPlace, Place
from nas.problem import yaml_text
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, differences, read_run_file, to_yaml
from nas.problem.search_problem import Setting, baselines
from nas.runs.activity import ActivityLog, Watched, forget_activities, new_driver
from nas.runs.files import DiskFullError, is_full, read_json, remove_parts, write_json, write_whole
from nas.runs.folder import RunFolder, create_run, has_run, open_run, refuse_other_run
from nas.runs.lock import is_locked, lock_run
from nas.runs.redaction import address_only, without_passwords
from nas.runs.summary import check_same_data, data_summary
from nas.search.dominated_genes import ReplacingSampler, UselessGenes, why_not
from nas.search.final_front import measure_front
from nas.search.loop import OnProgress, SearchLoop, ignore_progress, stopping_gently
from nas.search.resume import MAY_CHANGE, take_up_study, terms_of
from nas.study.drivers import Drivers, Timing
from nas.study.results import RunResults, publish_measured, results_of_study
from nas.study.retrying_storage import StorageLostError, reason_of
from nas.study.storages import open_storage, remember_password
from nas.study.study import refuse_other_study
from search_spaces.graphs.errors import UserError

USUAL = Timing()
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
    join: bool = False,
    timing: Timing = USUAL,
) -> RunResults:
    """Searches as ``file`` says in the folder ``runs / file.name`` and returns what was found.

    Stops early, cleanly, when it is interrupted once (``Ctrl-C``); a second interrupt raises.

    Args:
        resume: Go on with the run that is there.
        on_start: Called once everything that was given is checked, before the first trial.
        instruments: What latencies are found out with; None takes those of the run's device.
        place: Where candidates are evaluated; None takes this machine.
        join: Take part in a search that others do too: in the same folder, or with a folder of
            one's own in the same study.
        timing: How drivers of a shared study wait for each other and for its storage.

    Raises:
        UserError: If the configuration or data is wrong, the device has no latency model where
            one is needed, the folder holds another run, the study is another run's or cannot be
            reached, or the disk is full; nothing that was finished is lost.
    """
    config = file.config()
    instruments = instruments or Instruments()
    place = place or LocalPlace(instruments)
    path = runs / config.name
    remember_password(config.search.storage)
    file = without_password(file)  # from here on, as it may be written down
    config = file.config()
    check_run(file, path, resume, join)
    setting = place.prepare(config)
    baselines(config, setting.space)
    get_device(config.latency.device)
    model = instruments.needed_model(config)
    # Nothing is written before all that was given is known to be right.
    is_new = not has_run(path)
    if is_new and not join:
        refuse_other_study(config.name, config.search.storage, RunFolder(path).journal)
    elif config.search.storage is not None:
        open_storage(config.search.storage, RunFolder(path).journal)
    with ExitStack() as resources:
        run = RunFolder(path)
        resources.enter_context(naming_lost_storage(config, run))
        lock = resources.enter_context(lock_run(run, join=join))
        run = open_run(path) if has_run(path) else create_run(path, to_yaml(file))
        if lock.is_alone:
            tidy_up(run, file)
        resources.enter_context(logging_to(run.log_file))
        note_data(run, setting)
        me = new_driver()
        study = take_up_study(
            config,
            run,
            setting,
            me=me,
            is_alone=lock.is_alone,
            is_new=is_new and not join,
            terms=terms_of(file, config, setting, is_here=isinstance(place, LocalPlace)),
            join=join,
            storage_limit_s=timing.storage_limit_s,
        )
        shared = config.search.storage is not None or not lock.is_alone
        drivers = resources.enter_context(Drivers(study, run, me, shared, timing))
        lock.share()
        if model is not None:
            note_model(run, model)
        found = resources.enter_context(place.open(config, run, setting, model))
        activity = resources.enter_context(ActivityLog(run, about_place(place, config), me))
        if isinstance(found.workers, Watched):
            found.workers.watch(activity)
        if reason := why_not(config):
            log.info("useless precisions are not looked for: %s", reason)
        else:
            avoid_useless(study, setting, found.measurer, run)
        loop = SearchLoop(config, run, setting, study, found.workers, on_progress, drivers)
        loop.activity = activity
        on_start()

        def read_results() -> RunResults:
            return results_of_study(run, config, study)

        with stopping_gently(loop):
            loop.run_all()
            measure_front(read_results, found.measurer, lambda: loop.stopping)
        if config.search.storage is not None:
            publish_measured(read_results(), study)
        return replace(read_results(), used_up=loop.used_up)


def tidy_up(run: RunFolder, file: RunFile) -> None:
    """Removes what killed drivers have left, and notes how many trials and workers are asked for.

    Only for a run that nobody else is at work in.
    """
    remove_parts(run.path)
    forget_activities(run)
    write_whole(run.config_file, to_yaml(file).encode())


def note_data(run: RunFolder, setting: Setting) -> None:
    """Keeps in the run which images it saw.

    Raises:
        UserError: If they are others than before.
    """
    check_same_data(run.data_file, setting.splits)
    write_json(run.data_file, data_summary(setting.splits))


def about_place(place: Place, config: RunConfig) -> str:
    """Returns in words where candidates are evaluated."""
    if not isinstance(place, LocalPlace):
        return "elsewhere"  # workers that are `Watched` say more
    workers = config.search.workers
    return "this process" if workers == 1 else f"{workers} processes"


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


def without_password(file: RunFile) -> RunFile:
    """Returns a run file whose study's address may be written to disk."""
    url = file.search.storage
    if url is None or address_only(url) == url:
        return file
    stored = file.search.model_copy(update={"storage": address_only(url)})
    return file.model_copy(update={"search": stored})


def check_run(file: RunFile, path: Path, resume: bool, join: bool) -> None:
    """Checks that the run's folder is free, or may be gone on with.

    Raises:
        UserError: If it holds a run and ``resume`` and ``join`` are off, or its configuration
            differs.
    """
    if not has_run(path):
        return
    if not (resume or join):
        if is_locked(RunFolder(path)):
            with lock_run(RunFolder(path)):  # says who searches in it
                pass
        refuse_other_run(path)
    run = open_run(path)
    # Read as a run file, so that keys younger than the run count at their defaults.
    before = to_yaml(without_password(read_run_file(run.config_file)))
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
        lost = isinstance(error, StorageLostError)
        reason = str(error) if lost else reason_of(error)
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
