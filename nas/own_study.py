"""Own study: the study of a run, opened by one of its drivers, with what earlier ones left in it.

A driver that is alone in its run folder knows that all who were at work there are dead, and takes
up their trials at once; those of other machines are watched (`nas.drivers`).
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any
from zlib import crc32

import optuna
from optuna.trial import TrialState

from nas.config import RunConfig
from nas.drivers import BEAT, LEFT, forget, owner, predecessors
from nas.evaluator import affordable
from nas.patient_storage import LIMIT_S
from nas.run_folder import RunFolder
from nas.setting import Setting, baselines
from nas.storages import open_storage
from nas.studies import (
    BASELINE,
    make_sampler,
    mend_journal,
    open_study,
    retake,
    retake_interrupted,
)
from nas.terms import agree

log = logging.getLogger("nas.search")


def take_up_study(
    config: RunConfig,
    run: RunFolder,
    setting: Setting,
    *,
    me: str = "",
    is_alone: bool = True,
    is_new: bool = False,
    terms: Mapping[str, Any] | None = None,
    join: bool = False,
    storage_limit_s: float = LIMIT_S,
) -> optuna.Study:
    """Opens the study and queues the baselines and the trials that an earlier kill interrupted.

    Args:
        me: This driver's name.
        is_alone: Whether no other process searches in the run folder.
        is_new: Whether nobody else may have made the study.
        terms: What its drivers must have in common; None where nobody else comes.
        join: Whether this driver joins others.
        storage_limit_s: How long a database server that is lost later on is waited for.

    Raises:
        UserError: If the storage cannot be opened, the study is another run's, or its drivers
            search on other terms.
    """
    url = config.search.storage
    sampler = partial(
        make_sampler,
        config.search.sampler,
        setting.space,
        config.objectives,
        seed=config.search.seed,
        initial=config.search.initial,
        affordable=partial(affordable, config),
    )
    if url is None and is_alone:
        mend_journal(run.journal)
    storage = open_storage(url, run.journal, limit_s=storage_limit_s)
    study = open_study(config.name, storage, sampler(), config.objectives, may_exist=not is_new)
    if terms is not None:
        agree(study, terms, join=join)
    begun = len(study.get_trials(deepcopy=False))
    if not is_alone or others_beat(study, run):  # two drivers must not draw the same
        begun += crc32(me.encode())
    study.sampler = sampler(begun=begun)
    if is_alone and (retaken := take_up(study, run, is_shared=url is not None)):
        log.info("taking up %d interrupted trials", retaken)
    queue_baselines(config, study, setting)
    return study


def others_beat(study: optuna.Study, run: RunFolder) -> bool:
    """Whether drivers of other run folders are at work in the study, as far as it tells."""
    dead = {BEAT + name for name in predecessors(run)}
    beats = {key: sign for key, sign in study.user_attrs.items() if key.startswith(BEAT)}
    return any(sign != LEFT for key, sign in beats.items() if key not in dead)


def take_up(study: optuna.Study, run: RunFolder, *, is_shared: bool) -> int:
    """Queues what dead drivers of this run folder were at; returns how many trials.

    Nobody else is at work in the folder, and in a study that is not shared nobody at all.
    """
    dead = predecessors(run)
    if is_shared:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        retaken = sum(retake(study, trial) for trial in running if owner(trial) in dead)
    else:
        retaken = retake_interrupted(study)
    for name in dead:
        if study.user_attrs.get(BEAT + name, LEFT) != LEFT:
            study.set_user_attr(BEAT + name, LEFT)
    forget(run, dead)
    return retaken


def queue_baselines(config: RunConfig, study: optuna.Study, setting: Setting) -> None:
    """Queues the baselines that the study does not have yet."""
    trials = study.get_trials(deepcopy=False)
    known = {t.user_attrs.get(BASELINE) for t in trials if t.state != TrialState.FAIL}
    for name, architecture in baselines(config, setting.space).items():
        if name not in known:
            study.enqueue_trial(dict(architecture.genes), user_attrs={BASELINE: name})
