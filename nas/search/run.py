"""Search: a run folder made or taken up again, its study, its workers, and the loop over trials.

An evaluation is on disk before its trial is told, so a search that is killed at any moment loses
no finished work.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from latency_models.devices.device import get_device
from latency_models.prediction.predictor import Predictor
from nas.evaluation.instruments import Instruments
from nas.evaluation.kernel_table import KernelTable, KernelTimer
from nas.evaluation.latency import NetworkTimer
from nas.evaluation.place import LocalPlace, Place
from nas.problem import yaml_text
from nas.problem.data_paths import with_absolute_paths
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, differences, read_run_file, to_yaml
from nas.problem.search_problem import Setting
from nas.proposals.dominated_genes import ReplacingSampler, UselessGenes, why_not
from nas.runs.activity import ActivityLog, Watched, forget_activities, new_driver
from nas.runs.files import read_json, remove_parts, write_json, write_whole
from nas.runs.folder import RunFolder, create_run, has_run, open_run, refuse_other_run
from nas.runs.lock import RunLock, is_locked, lock_run
from nas.runs.redaction import address_only, without_passwords
from nas.runs.summary import check_same_data, data_summary
from nas.search.endings import logging_to, naming_lost_storage, stopping_gently
from nas.search.final_front import measure_front
from nas.search.loop import OnProgress, SearchLoop, ignore_progress
from nas.search.resume import may_change, take_up_study, terms_of
from nas.study.drivers import Drivers
from nas.study.liveness import USUAL, Timing
from nas.study.results import RunResults, publish_measured, results_of_study
from nas.study.storages import open_storage, remember_password
from nas.study.study import refuse_other_study
from search_spaces.graphs.errors import UserError

log = logging.getLogger("nas.search")


def do_nothing() -> None:
    """For searches whose start nobody waits for."""


@dataclass(frozen=True, slots=True)
class CheckedSearch:
    """A search whose every input is known to be right.

    Attributes:
        file: What it does, without the password of its storage: it may be written down.
        run: Its folder, which may not be there yet.
        model: Predicts latencies, where the configuration asks for that.
        is_new: Whether nobody else may have made the study.
        join: Whether others may search in the same folder or study already.
    """

    file: RunFile
    config: RunConfig
    run: RunFolder
    setting: Setting
    model: Predictor | None
    is_new: bool
    join: bool
    timing: Timing


def run_search(
    file: RunFile,
    runs: Path,
    *,
    resume: bool = False,
    on_start: Callable[[], None] = do_nothing,
    on_note: Callable[[str], None] = log.info,
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
        on_note: Called with each line on what of the data was left out or taken otherwise.
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
    remember_password(file.search.storage)
    file = without_password(file)  # from here on, as it may be written down
    run = RunFolder(runs / file.name)
    own = read_run_file(run.config_file) if has_run(run.path) else None
    file = with_absolute_paths(file, own)
    config = file.config()
    check_run(file, run.path, resume, join)
    instruments = instruments or Instruments()
    place = place or LocalPlace(instruments)
    setting = place.prepare(config)
    for note in setting.notes:
        on_note(note)
    get_device(config.latency.device)
    model = instruments.needed_model(config)
    # Nothing is written before all that was given is known to be right.
    is_new = not has_run(run.path) and not join
    check_study(config, run, is_new)
    search = CheckedSearch(file, config, run, setting, model, is_new, join, timing)
    with (
        opened_run(search) as lock,
        opened_study(search, lock, place.is_here) as drivers,
        opened_loop(search, drivers, place, on_progress) as (loop, measurer),
    ):
        on_start()
        return carry_out(loop, measurer)


def check_study(config: RunConfig, run: RunFolder, is_new: bool) -> None:
    """Makes sure that the study can be had.

    Raises:
        UserError: If it is another run's, or its storage cannot be reached.
    """
    if is_new:
        refuse_other_study(config.name, config.search.storage, run.journal)
    elif config.search.storage is not None:
        open_storage(config.search.storage, run.journal)


@contextmanager
def opened_run(search: CheckedSearch) -> Iterator[RunLock]:
    """Locks the run's folder, makes it where there is none, and writes the log into it."""
    run = search.run
    with naming_lost_storage(search.config, run), lock_run(run, join=search.join) as lock:
        if has_run(run.path):
            open_run(run.path)
        else:
            create_run(run.path, to_yaml(search.file))
        if lock.is_alone:
            tidy_up(run, search.file)
        with logging_to(run.log_file):
            note_data(run, search.setting)
            yield lock


@contextmanager
def opened_study(search: CheckedSearch, lock: RunLock, is_here: bool) -> Iterator[Drivers]:
    """Takes up the study, and lets others join from then on."""
    config, run, me = search.config, search.run, new_driver()
    study = take_up_study(
        config,
        run,
        search.setting,
        me=me,
        is_alone=lock.is_alone,
        is_new=search.is_new,
        terms=terms_of(search.file, config, search.setting, is_here=is_here),
        join=search.join,
        storage_limit_s=search.timing.storage_limit_s,
    )
    shared = config.search.storage is not None or not lock.is_alone
    with Drivers(study, run, me, shared, search.timing) as drivers:
        lock.share()
        yield drivers


@contextmanager
def opened_loop(
    search: CheckedSearch, drivers: Drivers, place: Place, on_progress: OnProgress
) -> Iterator[tuple[SearchLoop, NetworkTimer]]:
    """Opens the place; yields the loop over trials, and what measures the final front."""
    config, run, setting, model = search.config, search.run, search.setting, search.model
    if model is not None:
        note_model(run, model)
    with (
        place.open(config, run, setting, model) as opened,
        ActivityLog(run, opened.description, drivers.me) as activity,
    ):
        if isinstance(opened.workers, Watched):
            opened.workers.watch(activity)
        if reason := why_not(config):
            log.info("useless precisions are not looked for: %s", reason)
        else:
            avoid_useless(drivers.study, setting, opened.measurer, run)
        loop = SearchLoop(config, setting, drivers, opened.workers, on_progress, activity)
        yield loop, opened.measurer


def carry_out(loop: SearchLoop, measurer: NetworkTimer) -> RunResults:
    """Searches until all is evaluated, measures the front, and returns what was found."""

    def read_results() -> RunResults:
        return results_of_study(loop.run, loop.config, loop.study)

    with stopping_gently(loop.stop):
        loop.run_all()
        measure_front(read_results, measurer, loop.stop.is_set)
    if loop.config.search.storage is not None:
        publish_measured(read_results(), loop.study)
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
    own = with_absolute_paths(read_run_file(run.config_file))
    before = to_yaml(without_password(own))
    changed = [
        without_passwords(line)
        for line in differences(yaml_text.load(before), yaml_text.load(to_yaml(file)))
        if not may_change(line.partition(":")[0])
    ]
    if changed:
        raise UserError(
            f"{path} was searched with another configuration ({'; '.join(changed)}); restore "
            f"these values (the run's own are in {run.config_file}), or start anew with "
            "--set name=NAME"
        )
