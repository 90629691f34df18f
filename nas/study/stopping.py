"""Stopped: what early stopping did in a run, counted from its evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.evaluation.early_stopping import rung_epochs
from nas.problem.formatting import percent
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from nas.study.results import RunResults


@dataclass(frozen=True, slots=True)
class RungCount:
    """What happened at one rung.

    Attributes:
        reached: Trainings that got so far.
        stopped: Those of them that ended there.
        saved: Epochs that were not trained for that.
    """

    epoch: int
    reached: int
    stopped: int
    saved: int


def count_rungs(results: RunResults) -> tuple[RungCount, ...]:
    """Returns a row for each rung of the run, first to last; none without early stopping."""
    epochs = results.config.training.epochs
    trained = [trial.evaluation for trial in results.trials if trial.evaluation.epochs]
    return tuple(
        RungCount(
            rung,
            reached=sum(each.epochs >= rung for each in trained),
            stopped=len(ended := ended_at(rung, trained)),
            saved=sum(epochs - each.epochs for each in ended),
        )
        for rung in rungs_of(results.config)
    )


def rungs_of(config: RunConfig) -> tuple[int, ...]:
    rule = config.search.early_stopping
    if rule is None:
        return ()
    return rung_epochs(config.training.epochs, rule.grace_epochs, rule.reduction)


def ended_at(rung: int, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [each for each in evaluations if each.status == "stopped" and each.epochs == rung]


def in_one_line(results: RunResults) -> str:
    """Returns in words how many trainings were stopped where; "" where none may be."""
    rungs = count_rungs(results)
    if not rungs:
        return ""
    trained = sum(trial.evaluation.epochs > 0 for trial in results.trials)
    where = ", ".join(f"{each.stopped} after epoch {each.epoch}" for each in rungs if each.stopped)
    line = f"stopped early: {len(results.stopped)} of {trained} trainings"
    if not where:
        return line
    saved, planned = sum(each.saved for each in rungs), trained * results.config.training.epochs
    return f"{line} ({where}); {saved} of {planned} epochs saved ({percent(saved / planned)})"


def why_unfinished(evaluation: Evaluation) -> str:
    """Returns why a network is in no front; "" where it may be in one."""
    if evaluation.status == "infeasible":
        return f"infeasible: {evaluation.reason}"
    return evaluation.reason or ""
