"""Change: what a run keeps that goes on with other constraints, objectives or epochs.

Numbers that were found stay true; only what they mean changes. So evaluations are judged anew, and
evaluated again is only what they cannot tell: networks that an old constraint ended early, and,
after more epochs, the front. docs/decisions/014-changing-a-run.md says why.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from latency_models.devices.latency import Latency, MeasurementError, NotProfiledError
from nas.evaluation.archive_size import archive_value, needs_archive
from nas.evaluation.feasibility import (
    broken_rules,
    violations_of,
    why_infeasible,
    with_measured,
)
from nas.evaluation.instruments import needs_latency
from nas.evaluation.latency import is_machines_fault
from nas.problem.metrics import ARCHIVE_BYTES
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.runs.folder import RunFolder
from nas.search.rewriting import rewrite_journal
from nas.study.results import RunResults, TrialResult, load_results
from nas.study.study import mend_journal
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph

Say = Callable[[str], None]
log = logging.getLogger("nas.search")

# What --change may change; a key stands for all below it.
CHANGEABLE = ("constraints", "objectives", "reference", "training.epochs")
MOST_NAMES = 8  # in one line


def is_changeable(line: str) -> bool:
    """Whether a difference, ``key: old -> new``, is of what ``--change`` may change."""
    key = line.partition(":")[0]
    return any(key == each or key.startswith(f"{each}.") for each in CHANGEABLE)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of the evaluations of a run.

    Attributes:
        kept: Those that are judged anew, by hash.
        again: The trials that are evaluated again, and why.
    """

    kept: Mapping[str, Evaluation]
    again: tuple[tuple[TrialResult, str], ...]

    @property
    def hashes_again(self) -> frozenset[str]:
        return frozenset(trial.hash for trial, _ in self.again)

    def in_lines(self, before: RunResults, changed: Sequence[str]) -> list[str]:
        """Returns what changes, what is kept, and what is evaluated again, for people."""
        now = list(self.kept.values())
        lines = [f"changed: {line}" for line in changed]
        counts = ", ".join(
            f"{sum(each.status == status for each in now)} {status}"
            for status in ("finished", "infeasible", "stopped")
        )
        lines.append(
            f"kept: {len(now)} of {len(before.trials)} evaluations ({counts}; "
            f"before the change {len(before.feasible)} were finished)"
        )
        for reason in dict.fromkeys(reason for _, reason in self.again):
            names = [trial.name for trial, why in self.again if why == reason]
            shown = ", ".join(names[:MOST_NAMES]) + ", ..." * (len(names) > MOST_NAMES)
            lines.append(f"evaluated again: {len(names)} that {reason} ({shown})")
        return lines


def plan_change(before: RunResults, config: RunConfig) -> Change:
    """Returns what becomes of a run's evaluations under another configuration.

    Raises:
        UserError: If they say nothing under it: fewer epochs than they were trained for.
    """
    old, new = before.config.training.epochs, config.training.epochs
    if new < old:
        raise UserError(
            f"training.epochs was {old} and cannot become {new}: accuracies of more epochs say "
            f"nothing about fewer; search anew with --set name=NAME --enqueue {before.run.path}"
        )
    judged = {t.hash: judge(before.config, config, t.evaluation) for t in before.trials}
    kept = {key: each for key, each in judged.items() if isinstance(each, Evaluation)}
    again = [(t, str(judged[t.hash])) for t in before.trials if t.hash not in kept]
    if new > old:
        held = tuple(
            replace(t, evaluation=kept[t.hash])
            for t in before.trials
            if t.hash in kept and has_objectives(config, kept[t.hash])
        )
        # What was given with its weights is trained for no epochs, whatever the others are.
        trained = replace(before, config=config, trials=held).front
        front = {t.hash for t in trained if t.evaluation.epochs}
        again += [
            (t, f"are the front, for {new} epochs") for t in before.trials if t.hash in front
        ]
        kept = {key: set_aside(each, new) for key, each in kept.items() if key not in front}
    return Change(kept, tuple(sorted(again, key=lambda pair: pair[0].number)))


def judge(old: RunConfig, new: RunConfig, evaluation: Evaluation) -> Evaluation | str:
    """Returns an evaluation as the new configuration judges it, or why it must be made again."""
    values, latency = evaluation.values, evaluation.latency
    reason = why_infeasible(new, values, latency)
    judged = replace(evaluation, violations=violations_of(new, values, latency))
    if reason is not None:
        return replace(judged, status="infeasible", reason=reason)
    if evaluation.status == "infeasible":
        if not broken_rules(old, evaluation.violations):
            return judged  # it failed by itself
        if not has_objectives(new, evaluation):
            return "broke a constraint that is no more"
        return replace(judged, status="finished", reason=None)
    if evaluation.status == "finished" and not has_objectives(new, evaluation):
        return "were not measured"
    return judged


def has_objectives(config: RunConfig, evaluation: Evaluation) -> bool:
    """Whether every number that the configuration asks for is known."""
    wanted = {metric.name for metric in config.objectives}
    wanted |= {rule.metric.name for rule in config.constraints}
    wanted |= {"latency_ms"} if needs_latency(config) else set()
    return wanted <= evaluation.values.keys()


def set_aside(evaluation: Evaluation, epochs: int) -> Evaluation:
    """Returns a finished evaluation as one whose training ended early, which it did by now."""
    if evaluation.status != "finished" or not evaluation.epochs:  # its weights were given
        return evaluation
    return replace(
        evaluation,
        status="stopped",
        reason=f"trained for {evaluation.epochs} of {epochs} epochs, before they were changed",
    )


def change_run(run: RunFolder, config: RunConfig, changed: Sequence[str], say: Say) -> None:
    """Judges what a run has found by another configuration, and queues what it cannot tell.

    It may be killed at any moment, and made again: the study is told anew as a whole, and what
    the evaluations on file say is worked out from the numbers in them. Nobody else is at work in
    the run.

    Args:
        config: The new configuration.
        changed: What differs from the old one, a line each.
        say: Told what changes, what is kept and what is evaluated again, before anything is.

    Raises:
        UserError: If the change cannot be made; nothing was written then.
    """
    mend_journal(run.journal)
    before = with_archive_sizes(load_results(run.path), config)
    change = plan_change(before, config)
    for line in change.in_lines(before, changed):
        log.info("%s", line)
        say(line)
    if run.journal.exists():
        rewrite_journal(run.journal, config, change.kept, change.hashes_again)
    shutil.rmtree(run.rungs, ignore_errors=True)  # they are of the old objectives and epochs
    again = {trial.hash: trial.evaluation for trial, _ in change.again}
    for evaluation in list(run.evaluations()):
        key = evaluation.hash
        if key in change.kept:
            run.replace_evaluation(change.kept[key])
        elif is_unmeasured(config, evaluation):
            run.replace_evaluation(again.get(key, evaluation))
        else:
            run.superseded.mkdir(exist_ok=True)
            run.evaluation_file(key).replace(run.superseded / f"{key}.json")


def with_archive_sizes(results: RunResults, config: RunConfig) -> RunResults:
    """Returns results in which every network whose weights are here has the size of its archive.

    A run that did not ask for it learns it from the weights, at no training's cost.
    """
    if not needs_archive(config):
        return results
    trials = tuple(
        replace(trial, evaluation=replace(each, values={**each.values, **size}))
        for trial in results.trials
        for each in (trial.evaluation,)
        for size in (archive_size(results, trial),)
    )
    return replace(results, trials=trials)


def archive_size(results: RunResults, trial: TrialResult) -> dict[str, float]:
    """Returns what a trial's archive is estimated at; nothing where it is known, or cannot be."""
    if ARCHIVE_BYTES in trial.evaluation.values or not results.run.has_weights(trial.hash):
        return {}
    return archive_value(results.run.load_model(trial.hash))


def is_unmeasured(config: RunConfig, evaluation: Evaluation) -> bool:
    """Whether only the latency of a fully trained network is missing."""
    return (
        evaluation.status == "finished"
        and evaluation.epochs == epochs_of(config, evaluation)
        and needs_latency(config)
        and "latency_ms" not in evaluation.values
    )


def epochs_of(config: RunConfig, evaluation: Evaluation) -> int:
    """Returns how many epochs a network is trained for in a run."""
    epochs, rule = config.training.epochs, config.search.inherit
    return epochs if rule is None or evaluation.inherited is None else rule.epochs_of(epochs)


def measure_the_unmeasured(
    run: RunFolder,
    config: RunConfig,
    latency: Callable[[Graph], Latency],
    is_stopping: Callable[[], bool],
) -> None:
    """Finds out the latencies that a run did not ask for before it was changed.

    Raises:
        MeasurementError: If the device stays busy or away; what was measured is kept.
    """
    for evaluation in list(run.evaluations()) if needs_latency(config) else ():
        if is_stopping():
            return
        if not is_unmeasured(config, evaluation):
            continue
        try:
            found = latency(run.load_architecture(evaluation.hash).graph)
        except (MeasurementError, UnsupportedOperatorError, NotProfiledError) as error:
            if is_machines_fault(error):
                if is_stopping():
                    return  # the rest is left for --resume
                raise
            run.replace_evaluation(replace(evaluation, status="infeasible", reason=str(error)))
            continue
        run.replace_evaluation(with_measured(config, evaluation, found))
