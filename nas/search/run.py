"""Search: a run folder made or taken up again, its study, its workers, and the loop over trials.

An evaluation is on disk before its trial is told, so a search that is killed at any moment loses
no finished work.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna

from latency_models.devices.device import get_device
from latency_models.devices.latency import Latency
from latency_models.prediction.predictor import Predictor
from nas.evaluation.free_rules import FreeRules
from nas.evaluation.instruments import Instruments, slowed_down
from nas.evaluation.kernel_table import KernelTable, KernelTimer
from nas.evaluation.latency import patient_latency
from nas.evaluation.place import LocalPlace, OpenPlace, Place
from nas.evaluation.supernet import check_supernet, ensure_supernet
from nas.models.given.setting import check_same_models, check_taught, note_models
from nas.problem.data_paths import with_absolute_paths
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, read_kept_file, to_yaml
from nas.problem.search_problem import Setting
from nas.runs.activity import ActivityLog, Watched, forget_activities, new_driver
from nas.runs.files import read_json, remove_parts, write_json, write_whole
from nas.runs.findings.earlier_run import EarlierRun, keep
from nas.runs.findings.learn_from import earlier_runs
from nas.runs.folder import RunFolder, create_run, has_run, open_run
from nas.runs.lock import RunLock, lock_run
from nas.runs.summary import check_same_data, data_summary
from nas.search.change import change_run, measure_the_unmeasured
from nas.search.checks import (
    check_run,
    check_study,
    refuse_change_of_shared,
    without_password,
)
from nas.search.endings import logging_to, naming_lost_storage
from nas.search.enqueue import enqueue as enqueue_all
from nas.search.enqueue import fitted
from nas.search.final_front import settle_front, tune_front
from nas.search.kept_weights import KeptWeights
from nas.search.loop import OnProgress, Progress, SearchLoop, ignore_notice, ignore_progress
from nas.search.proposals.dominated_genes import ReplacingSampler, UselessGenes, why_not
from nas.search.proposals.gate import Gate
from nas.search.resume import take_up_study, terms_of
from nas.search.stopping import in_words, stopping_gently
from nas.study.drivers import Drivers
from nas.study.liveness import USUAL, Timing
from nas.study.results import RunResults, publish_measured, results_of_study
from nas.study.storages import remember_password
from nas.training.supernet.training import SupernetReport, ignore
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import Architecture

log = logging.getLogger("nas.search")


def about_heirs(config: RunConfig) -> list[str]:
    """Returns what people are to know of inherited weights before their search begins."""
    if config.search.inherit is None or config.search.keep_weights == "all":
        return []
    return [
        "search.keep_weights is front: candidates inherit from the front of the moment alone, as "
        "the weights of all others go; set it to all for nearer parents"
    ]


def do_nothing() -> None:
    """For searches whose start nobody waits for."""


@dataclass(frozen=True, slots=True)
class CheckedSearch:
    """A search whose every input is known to be right.

    Attributes:
        file: What it does, without the password of its storage: it may be written down.
        run: Its folder, which may not be there yet.
        model: Predicts latencies, where the configuration asks for that.
        gate: What every proposal must pass.
        queue: What is evaluated first.
        changed: What a run that is there is to do otherwise, a line each.
        earlier: What other runs found, to learn from.
        is_new: Whether nobody else may have made the study.
        join: Whether others may search in the same folder or study already.
    """

    file: RunFile
    config: RunConfig
    run: RunFolder
    setting: Setting
    model: Predictor | None
    gate: Gate
    queue: tuple[Architecture, ...]
    changed: Sequence[str]
    earlier: Sequence[EarlierRun]
    is_new: bool
    join: bool
    timing: Timing


def run_search(
    file: RunFile,
    runs: Path,
    *,
    resume: bool = False,
    change: bool = False,
    on_start: Callable[[], None] = do_nothing,
    on_note: Callable[[str], None] = ignore_notice,
    on_progress: OnProgress = ignore_progress,
    on_supernet: Callable[[SupernetReport], None] = ignore,
    instruments: Instruments | None = None,
    place: Place | None = None,
    join: bool = False,
    enqueue: Sequence[Architecture] = (),
    timing: Timing = USUAL,
) -> RunResults:
    """Searches as ``file`` says in the folder ``runs / file.name`` and returns what was found.

    Stops early, cleanly, when it is interrupted once (``Ctrl-C``); a second interrupt raises.

    Args:
        resume: Go on with the run that is there.
        change: Go on with other constraints, objectives or more epochs; `on_note` is told what is
            kept and what is evaluated again before anything happens.
        on_start: Called once everything that was given is checked, before the first trial.
        on_note: Told what people are to know at once, a line each: what of the data was left out
            or taken otherwise, how the search is stopped, what its sampler cannot do.
        on_supernet: Called after each epoch of the weights that all networks share, where
            `search.evaluation` is supernet.
        instruments: What latencies are found out with; None takes those of the run's device.
        place: Where candidates are evaluated; None takes this machine.
        join: Take part in a search that others do too: in the same folder, or with a folder of
            one's own in the same study.
        enqueue: Architectures that are evaluated before the sampler's, as trials; of those that
            the run has already nothing is done again.
        timing: How drivers of a shared study wait for each other and for its storage.

    Raises:
        UserError: If the configuration or data is wrong, the device has no latency model where
            one is needed, the folder holds another run, the study is another run's or cannot be
            reached, no architecture was found that keeps the constraints, or the disk is full;
            nothing that was finished is lost.
    """
    remember_password(file.search.storage)
    file = without_password(file)  # from here on, as it may be written down
    run = RunFolder(runs / file.name)
    own = read_kept_file(run.config_file) if has_run(run.path) else None
    file = with_absolute_paths(file, own)
    config = file.config()
    changed = check_run(file, run.path, resume, join, change)
    brought: list[str] = []
    earlier = earlier_runs(config, run, brought.append, join=join)
    instruments = instruments or Instruments()
    place = place or LocalPlace(instruments)
    setting = place.prepare(config)
    for note in (*setting.notes, *brought, *about_heirs(config)):
        log.info("%s", note)
        on_note(note)
    queue = fitted(setting.space, enqueue)
    check_taught(setting.teacher, (architecture.graph for architecture in queue))
    get_device(config.latency.device)
    model = instruments.needed_model(config)
    for note in check_supernet(config, setting, run):
        log.info("%s", note)
        on_note(note)
    # Nothing is written before all that was given is known to be right.
    is_new = not has_run(run.path) and not join
    check_study(config, run, is_new)
    gate = Gate.of(FreeRules(config, model))
    search = CheckedSearch(
        file, config, run, setting, model, gate, queue, changed, earlier, is_new, join, timing
    )
    with (
        opened_run(search, on_note) as lock,
        opened_study(search, lock, place.is_here) as drivers,
        opened_loop(search, drivers, place, on_progress) as (loop, opened, weights),
    ):
        loop.notify = on_note
        on_start()
        if place.is_here and (slowed := slowed_down(config)):
            loop.tell_people(slowed)
        return carry_out(loop, opened, weights, gate, model, on_supernet)


@contextmanager
def opened_run(search: CheckedSearch, say: Callable[[str], None]) -> Iterator[RunLock]:
    """Locks the run's folder, makes it where there is none, and writes the log into it."""
    run = search.run
    with naming_lost_storage(search.config, run), lock_run(run, join=search.join) as lock:
        if has_run(run.path):
            open_run(run.path)
        else:
            create_run(run.path, to_yaml(search.file))
        keep(run, search.earlier)
        with logging_to(run.log_file):
            check_same_data(run.data_file, search.setting.splits)  # before its place is noted
            if run.data_file.exists():  # it was begun before
                check_same_models(run, search.setting)
            if search.changed:
                refuse_change_of_shared(search.config, run, lock)
                change_run(run, search.config, search.changed, say)
            if lock.is_alone:
                tidy_up(run, search.file)
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
        gate=search.gate,
        known=FreeRules(config, search.model).values,
        earlier=search.earlier,
        storage_limit_s=search.timing.storage_limit_s,
    )
    if queued := enqueue_all(study, search.queue):
        log.info("%d architectures are queued", queued)
    shared = config.search.storage is not None or not lock.is_alone
    with Drivers(study, run, me, shared, search.timing) as drivers:
        lock.share()
        yield drivers


@contextmanager
def opened_loop(
    search: CheckedSearch, drivers: Drivers, place: Place, on_progress: OnProgress
) -> Iterator[tuple[SearchLoop, OpenPlace, KeptWeights]]:
    """Opens the place; yields the loop over trials, the place, and weights."""
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
        weights = KeptWeights(config, run)

        def tell(progress: Progress) -> None:
            weights.note(progress.evaluation)
            on_progress(progress)

        loop = SearchLoop(config, setting, drivers, opened.workers, tell, activity)
        yield loop, opened, weights


def carry_out(
    loop: SearchLoop,
    opened: OpenPlace,
    weights: KeptWeights,
    gate: Gate,
    model: Predictor | None,
    on_supernet: Callable[[SupernetReport], None] = ignore,
) -> RunResults:
    """Searches until all is evaluated, settles the front, and returns what was found.

    Raises:
        UserError: If not one architecture that may be evaluated was found.
    """

    def read_results() -> RunResults:
        return results_of_study(loop.run, loop.config, loop.study)

    def latency(graph: Graph) -> Latency:
        if model is not None and loop.config.latency.source == "predicted":
            return model.latency(graph)
        return patient_latency(opened.measurer, graph)

    timeout = loop.config.search.timeout
    doing = partial(in_words, loop.under_way)
    with stopping_gently(loop.stop, loop.notify, doing, timeout, opened.hurry):
        measure_the_unmeasured(loop.run, loop.config, latency, loop.stop.is_set)
        ensure_supernet(
            *(loop.config, loop.setting, loop.run, opened.train_supernet, on_supernet),
            stopping=loop.stop.is_set,
        )
        loop.run_all()
        settle_front(read_results, opened.measurer, loop.stop.is_set)
        while tune_front(loop, read_results):
            settle_front(read_results, opened.measurer, loop.stop.is_set)
    weights.tidy(read_results())
    if loop.config.search.storage is not None:
        publish_measured(read_results(), loop.study)
    found = read_results()
    ending = loop.ending or found.ending
    if ending != loop.ending:
        log.info("%s", ending)
    results = replace(found, used_up=loop.used_up, ending=ending, refused=gate.in_one_line())
    if results.refused:
        log.info("refused, at no trial's cost: %s", results.refused)
    if results.ending and not results.trials:
        raise UserError(results.ending)
    return results


def tidy_up(run: RunFolder, file: RunFile) -> None:
    """Removes what killed drivers have left, and notes how many trials and workers are asked for.

    Only for a run that nobody else is at work in.
    """
    remove_parts(run.path)
    forget_activities(run)
    write_whole(run.config_file, to_yaml(file).encode())


def note_data(run: RunFolder, setting: Setting) -> None:
    """Keeps in the run which images it saw, and what trained networks it was given.

    Raises:
        UserError: If they are others than before.
    """
    check_same_data(run.data_file, setting.splits)
    note_models(run, setting)
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
