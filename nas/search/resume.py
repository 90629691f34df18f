"""Resuming: the study of a run, opened by one of its drivers, with what earlier ones left in it.

A driver that is alone in its run folder knows that all who were at work there are dead, and takes
up their trials at once; those of other machines are watched (`nas.study.drivers`).

What all drivers of one study must have in common is kept in the study itself. Settings that may
differ are left out: where the study and the data lie, how many trials and workers; whether the
data is the same, its fingerprints tell.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import optuna
from optuna.trial import TrialState

from latency_models.devices.device import get_device
from latency_models.devices.host import cpu_name
from nas.evaluation.free_rules import FreeRules, graph_values
from nas.evaluation.instruments import needs_latency
from nas.models.given.setting import given_models
from nas.problem import yaml_text
from nas.problem.data_paths import is_path
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, differences, to_yaml
from nas.problem.search_problem import Setting
from nas.runs.findings.earlier_run import EarlierRun, to_json
from nas.runs.findings.learn_from import told_by
from nas.runs.folder import RunFolder
from nas.runs.provenance import versions
from nas.runs.summary import data_summary
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.beliefs import Known
from nas.search.proposals.samplers import make_sampler
from nas.study.attributes import check_trials
from nas.study.drivers import forget, predecessors
from nas.study.liveness import beats_of, owner
from nas.study.names import BASELINE, BEAT, EARLIER, LEFT, TERMS
from nas.study.retrying_storage import LIMIT_S
from nas.study.storages import is_file, open_storage, reading_study
from nas.study.study import mend_journal, open_study, retake, retake_interrupted
from search_spaces.graphs.errors import UserError

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
    gate: Gate | None = None,
    known: Known = graph_values,
    earlier: Sequence[EarlierRun] = (),
    storage_limit_s: float = LIMIT_S,
) -> optuna.Study:
    """Opens the study and queues the baselines and the trials that an earlier kill interrupted.

    Args:
        me: This driver's name.
        is_alone: Whether no other process searches in the run folder.
        is_new: Whether nobody else may have made the study.
        terms: What its drivers must have in common; None where nobody else comes.
        join: Whether this driver joins others.
        gate: What every proposal must pass; None lets the free rules of the configuration decide.
        known: What a graph alone tells of metrics.
        earlier: What other runs found, to learn from; a shared study keeps it for all drivers.
        storage_limit_s: How long a database server that is lost later on is waited for.

    Raises:
        UserError: If the storage cannot be opened, the study is another run's, or its drivers
            search on other terms.
    """
    url = config.search.storage
    gate = gate or Gate.of(FreeRules(config))
    sampler = partial(
        make_sampler,
        config.search.sampler,
        setting.space,
        config.objectives,
        seed=config.search.seed,
        initial=config.search.initial,
        gate=gate,
        known=known,
        reference=config.reference,
        earlier=earlier,
        bounds={c.metric.name: c.limit for c in config.constraints if c.at_most},
    )
    if url is None and is_alone:
        mend_journal(run.journal)
    # A lost server is the search's own to notice and wait for.
    with reading_study(url, run.journal) if is_file(url) else nullcontext():
        storage = open_storage(url, run.journal, limit_s=storage_limit_s)
        objectives, may_exist = config.objectives, not is_new
        study = open_study(config.name, storage, sampler(), objectives, may_exist=may_exist)
        check_trials(study.get_trials(deepcopy=False))
    if terms is not None:
        agree(study, terms, join=join)
    if earlier and url is not None and told_by(study.user_attrs) is None:
        study.set_user_attr(EARLIER, to_json(earlier))
    begun = len(study.get_trials(deepcopy=False))
    if not is_alone or others_beat(study, run):  # two drivers must not draw the same
        begun += crc32(me.encode())
    study.sampler = sampler(begun=begun)
    if is_alone and (retaken := take_up(study, run, is_shared=url is not None)):
        log.info("taking up %d interrupted trials", retaken)
    queue_baselines(study, setting)
    return study


def others_beat(study: optuna.Study, run: RunFolder) -> bool:
    """Whether drivers of other run folders are at work in the study, as far as it tells."""
    return bool(beats_of(study.user_attrs).keys() - predecessors(run))


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
    for name in dead & beats_of(study.user_attrs).keys():
        study.set_user_attr(BEAT + name, LEFT)
    forget(run, dead)
    return retaken


def queue_baselines(study: optuna.Study, setting: Setting) -> None:
    """Queues the baselines that the study does not have yet."""
    trials = study.get_trials(deepcopy=False)
    queued = {t.user_attrs.get(BASELINE) for t in trials if t.state != TrialState.FAIL}
    for name, architecture in setting.baselines.items():
        if name not in queued:
            study.enqueue_trial(dict(architecture.genes), user_attrs={BASELINE: name})


MAY_CHANGE = frozenset(
    {
        *("search.trials", "search.workers", "search.timeout", "search.stop"),
        *("search.cpus", "search.gpus"),
        *("latency.time_limit_s", "latency.max_drift"),
        *("search.keep_weights", "training.teacher"),
    }
)
OWN = frozenset({"data", "search.storage", "search.workers", "search.trials", "resources"})


def may_change(key: str) -> bool:
    """Whether a key of the run file may differ where a run is gone on with.

    Data and a teacher may lie elsewhere; that they are the same, their fingerprints tell.
    """
    section, _, name = key.partition(".")
    below = any(key.startswith(f"{each}.") for each in MAY_CHANGE)
    return key in MAY_CHANGE or below or (section == "data" and is_path(name))


def terms_of(
    file: RunFile, config: RunConfig, setting: Setting, *, is_here: bool
) -> dict[str, Any]:
    """Returns the terms of a search, as JSON-ready data without passwords.

    Args:
        is_here: Whether candidates are evaluated on this machine, whose CPU counts then.
    """
    data = yaml_text.load(to_yaml(file))
    for key in OWN | MAY_CHANGE:
        section, _, name = key.partition(".")
        if name:
            data.get(section, {}).pop(name, None)
        else:
            data.pop(section, None)
    # Their folders may lie elsewhere on another machine; what they found is in the study.
    del data["search"]["learn_from"]
    if earlier := [Path(path).name for path in config.search.learn_from]:
        data["search"]["learn_from"] = earlier
    fingerprints = data_summary(setting.splits)["fingerprints"]
    measures_here = is_here and needs_latency(config) and is_this_machine(config)
    given = {name: fingerprint[:16] for name, fingerprint in given_models(setting).items()}
    norm = setting.splits.normalization if config.data.normalization is not None else None
    return {
        "config": data,
        "version": versions()["hwnas"],
        "data": {name: fingerprint[:16] for name, fingerprint in fingerprints.items()},
        "cpu": cpu_name() if measures_here else None,
        **({"models": given} if given else {}),
        **({"normalization": [*norm.mean, *norm.std]} if norm is not None else {}),
    }


def is_this_machine(config: RunConfig) -> bool:
    return not get_device(config.latency.device).is_remote


def agree(study: optuna.Study, terms: Mapping[str, Any], *, join: bool) -> None:
    """Makes sure that the study is searched on these terms, which a new study is from now on.

    Args:
        join: Whether this driver joins others; one that goes on alone brings newer terms.

    Raises:
        UserError: If they are not the study's; the message says what differs.
    """
    before = study.user_attrs.get(TERMS)
    if before == terms:
        return
    if before is not None and join:
        different = "; ".join(differences(before, terms))
        raise UserError(
            f"study {study.study_name!r} is searched on other terms ({different}); make them the "
            "same as where it was begun, or search on your own with --set name=NAME"
        )
    study.set_user_attr(TERMS, dict(terms))
