"""Results: what a run has found so far, read from its files; works while it is still searching."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.problem.answers import Confusion, ScoreInterval, confusion_from_json
from nas.problem.metrics import Metric
from nas.problem.pareto import Points, knee, non_dominated, reference_point
from nas.problem.records import RunConfig
from nas.problem.run_file import read_kept_file
from nas.runs.certainty import interval_of, num_images
from nas.runs.closest import why_nothing
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.files import read_json
from nas.runs.folder import Elsewhere, RunFolder, open_run
from nas.study.attributes import (
    carried_architecture,
    carried_evaluation,
    check_trials,
    evaluation_of,
)
from nas.study.gains import why_enough, without_gain
from nas.study.names import BASELINE, GIVEN_BACK, HASH, MEASURED, REPLACED
from nas.study.storages import open_storage, reading_study
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One finished trial: an architecture of the space, or a baseline.

    Attributes:
        number: Optuna's number of the trial.
        baseline: Name of the published network it is, if it is one.
        genes: Its decisions; empty for a network from outside the space.
        repeats: Later trials that proposed the same.
    """

    number: int
    hash: str
    baseline: str | None
    genes: Mapping[str, Value]
    evaluation: Evaluation
    repeats: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.baseline or f"trial {self.number}"

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.number, *self.repeats)


@dataclass(frozen=True, slots=True)
class RunResults:
    """Everything a run has found.

    Attributes:
        trials: Finished trials in order of number, each architecture once.
        num_duplicates: Trials that proposed an architecture already evaluated.
        num_failed: Trials that were interrupted.
        num_running: Trials under way, or left by a killed search.
        used_up: Whether the search found nothing more to propose; False for a run read back.
        ending: Why the search proposed nothing more, in words; "" where all that was asked for is
            evaluated, or it was stopped. Read back, a run says so only where `search.stop` ended
            it.
        refused: What it did not propose as it breaks a free constraint or makes no network, in
            words; "" where there was none, or for a run read back.
        num_replaced: Genes of finished trials that gave way as useless.
        asked: The study's trials that did not fail, for what learns from them.
    """

    run: RunFolder
    config: RunConfig
    trials: tuple[TrialResult, ...]
    num_duplicates: int
    num_failed: int
    num_running: int
    used_up: bool = False
    ending: str = ""
    refused: str = ""
    num_replaced: int = 0
    asked: tuple[FrozenTrial, ...] = field(default=(), repr=False, compare=False)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return self.config.objectives

    @property
    def feasible(self) -> tuple[TrialResult, ...]:
        return tuple(trial for trial in self.trials if trial.evaluation.feasible)

    @property
    def infeasible(self) -> tuple[TrialResult, ...]:
        return tuple(trial for trial in self.trials if trial.evaluation.status == "infeasible")

    @property
    def stopped(self) -> tuple[TrialResult, ...]:
        """The trials whose training was ended early: neither feasible nor infeasible."""
        return tuple(trial for trial in self.trials if trial.evaluation.status == "stopped")

    @property
    def searched(self) -> tuple[TrialResult, ...]:
        """The trials that count towards ``search.trials``."""
        return tuple(trial for trial in self.trials if trial.baseline is None)

    @property
    def baselines(self) -> tuple[TrialResult, ...]:
        return tuple(trial for trial in self.trials if trial.baseline is not None)

    @property
    def front(self) -> tuple[TrialResult, ...]:
        """The feasible trials that none dominates, best in the first objective first."""
        feasible = self.feasible
        mask = non_dominated(self.points(feasible), self.metrics)
        best = [trial for trial, kept in zip(feasible, mask, strict=True) if kept]
        first = self.metrics[0]
        return tuple(
            sorted(best, key=lambda trial: first.sign * trial.evaluation.values[first.name])
        )

    @property
    def predicted_front(self) -> tuple[TrialResult, ...]:
        """The networks of the front whose latency is not measured, but should be."""
        return tuple(trial for trial in self.front if trial.evaluation.is_predicted)

    @property
    def estimated_front(self) -> tuple[TrialResult, ...]:
        """The networks of the front whose archive is only estimated; their weights are here."""
        return tuple(
            trial
            for trial in self.front
            if trial.evaluation.is_archive_estimated
            and trial.hash not in self.run.elsewhere
            and self.run.has_weights(trial.hash)
        )

    def points(self, trials: Sequence[TrialResult]) -> Points:
        """Returns the objective values of ``trials``, a row each."""
        rows = [[trial.evaluation.values[m.name] for m in self.metrics] for trial in trials]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.metrics))

    @property
    def without_gain(self) -> int | None:
        """Architectures evaluated since the hypervolume last grew; None before it is there."""
        return without_gain(self.config, self.asked)

    @property
    def is_over(self) -> bool:
        """Whether the search has evaluated all it was asked to, or all there is."""
        return bool(self.ending) or self.used_up or len(self.searched) >= self.config.search.trials

    @property
    def test_accuracies(self) -> dict[str, float]:
        """The test accuracies in ``front.json``, by hash; none before the search is over.

        Raises:
            UserError: If that file is damaged.
        """
        return self._of_front("test_accuracy", number)

    @property
    def test_confusions(self) -> dict[str, Confusion]:
        """The answers on the test images in ``front.json``, by hash; an older one has none.

        Raises:
            UserError: If that file is damaged.
        """
        return self._of_front("test_confusion", confusion_from_json)

    def _of_front(self, name: str, read: Callable[[Any], T]) -> dict[str, T]:
        path, remedy = self.run.front_file, "delete it and go on with 'nas search --resume'"
        try:
            rows = read_json(path, remedy, {"front": tuple[Mapping[str, Any], ...]})["front"]
            return {read_as(str, row["hash"]): read(row[name]) for row in rows if name in row}
        except FileNotFoundError:
            return {}
        except UserError as error:
            if str(path) in str(error):
                raise
            raise UserError(f"{path} is damaged ({error}); {remedy}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path} is damaged ({reason}); {remedy}") from None

    def interval(self, trial: TrialResult, metric: Metric) -> ScoreInterval | None:
        """Returns the 95 % interval of a score on the validation images; None without one."""
        return interval_of(trial.evaluation, metric, num_images(self.run, "validation"))

    @property
    def reference(self) -> tuple[float, ...]:
        """The hypervolume's reference: configured, else the worst feasible value found.

        Raises:
            UserError: If nothing feasible was found.
        """
        if not self.feasible:
            raise UserError(f"{self.run.path}: {self.why_nothing}")
        return reference_point(self.points(self.feasible), self.config.reference, self.metrics)

    @property
    def why_nothing(self) -> str:
        """Where nothing is feasible: what comes nearest, and why it is not, in one line."""
        return why_nothing([(trial.name, trial.evaluation) for trial in self.trials])

    def pick(self, which: str, max_latency_ms: float | None = None) -> TrialResult:
        """Returns the trial of the front that ``which`` names.

        Args:
            which: ``best`` (the first objective), ``knee``, ``fastest`` (the lowest latency, or
                else fewest MACs), or a trial's number.
            max_latency_ms: Leaves out slower ones.

        Raises:
            UserError: If there is no such trial, none within the bound, or it was stopped early.
        """
        if which.isdecimal():
            found = [trial for trial in self.trials if int(which) in trial.numbers]
            if not found:
                raise UserError(
                    f"{self.run.path} has no finished trial {which}; its front is "
                    f"{', '.join(str(trial.number) for trial in self.front) or 'empty'}"
                )
            if found[0] in self.stopped:
                raise UserError(
                    f"{self.run.path}: trial {which} was {found[0].evaluation.reason}, so it is "
                    "not fully trained; pick one that is"
                )
            if not within(found[0], max_latency_ms):
                raise UserError(
                    f"{self.run.path}: trial {which} is not within {max_latency_ms} ms, it takes "
                    f"{shown_latency(found[0])}"
                )
            return found[0]
        if which not in ("best", "knee", "fastest"):
            raise UserError(
                f"--pick must be best, knee, fastest or a trial's number, got {which!r}"
            )
        front = [trial for trial in self.front if within(trial, max_latency_ms)]
        if not front:
            raise UserError(self.why_none(max_latency_ms))
        if which == "best":
            return front[0]
        if which == "knee":
            return front[knee(self.points(front), self.metrics)]
        measure = "latency_ms" if "latency_ms" in front[0].evaluation.values else "macs"
        return min(front, key=lambda trial: trial.evaluation.values[measure])

    def why_none(self, max_latency_ms: float | None) -> str:
        if not self.front:
            return f"{self.run.path}: {self.why_nothing}"
        fastest = min(self.front, key=latency_ms)
        return (
            f"{self.run.path}: nothing on the front is within {max_latency_ms} ms; the fastest "
            f"takes {shown_latency(fastest)}"
        )


def within(trial: TrialResult, max_latency_ms: float | None) -> bool:
    return max_latency_ms is None or latency_ms(trial) <= max_latency_ms


def latency_ms(trial: TrialResult) -> float:
    """Returns the latency; infinite where it is not known, so that it keeps no bound."""
    return trial.evaluation.values.get("latency_ms", np.inf)


def shown_latency(trial: TrialResult) -> str:
    ms = latency_ms(trial)
    return f"{ms:.4g} ms" if np.isfinite(ms) else "a time that this run did not measure"


def load_results(path: Path) -> RunResults:
    """Reads a run folder.

    Raises:
        UserError: If it is no run, of a newer format, or damaged.
    """
    run = open_run(path)
    config = read_kept_file(run.config_file).config(is_tried=True)
    if config.search.storage is None and not run.journal.exists():
        return RunResults(run, config, (), 0, 0, 0)
    with reading_study(config.search.storage, run.journal):
        storage = open_storage(config.search.storage, run.journal, make=False)
        if config.name not in optuna.get_all_study_names(storage):
            return RunResults(run, config, (), 0, 0, 0)
        study = optuna.load_study(study_name=config.name, storage=storage)
        return results_of_study(run, config, study)


def results_of_study(run: RunFolder, config: RunConfig, study: optuna.Study) -> RunResults:
    """Returns the results that a study and the run's files hold, as they stand now."""
    measured = {
        key.removeprefix(MEASURED): evaluation_from_json(data)
        for key, data in study.user_attrs.items()
        if key.startswith(MEASURED)
    }
    return results_of(run, config, study.get_trials(deepcopy=False), measured)


def results_of(
    run: RunFolder,
    config: RunConfig,
    trials: Sequence[FrozenTrial],
    measured: Mapping[str, Evaluation] | None = None,
) -> RunResults:
    """Returns the results that ``trials`` and the run's files hold.

    Args:
        measured: Evaluations by hash that count more, as their latencies were measured later on.
    """
    check_trials(trials)
    found: dict[str, TrialResult] = {}
    elsewhere: dict[str, Elsewhere] = {}
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for trial in complete:
        key = trial.user_attrs[HASH]
        if key in found:
            first = found[key]
            found[key] = replace(first, repeats=(*first.repeats, trial.number))
            continue
        evaluation = (measured or {}).get(key) or evaluation_of(run, trial)
        if not run.architecture_file(key).exists():
            elsewhere |= carried_architecture(trial)
        if evaluation is None:
            raise UserError(
                f"{run.path}: trial {trial.number} is finished but {run.evaluation_file(key)} is "
                "missing; restore it, or go on with --resume, which evaluates it again"
            )
        check_complete(run, config, trial, evaluation)
        found[key] = TrialResult(
            trial.number, key, trial.user_attrs.get(BASELINE), trial.params, evaluation
        )
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    searched = sum(trial.baseline is None for trial in found.values())
    return RunResults(
        replace(run, elsewhere=elsewhere),
        config,
        tuple(found.values()),
        num_duplicates=len(complete) - len(found),
        num_failed=sum(GIVEN_BACK not in trial.user_attrs for trial in failed),
        num_running=sum(trial.state == TrialState.RUNNING for trial in trials),
        ending=why_enough(config, complete) if searched < config.search.trials else "",
        num_replaced=sum(len(trial.user_attrs.get(REPLACED, ())) for trial in complete),
        asked=tuple(trial for trial in trials if trial.state != TrialState.FAIL),
    )


def number(value: object) -> float:
    found: float = read_as(float, value, "a score")
    return found


def check_complete(
    run: RunFolder, config: RunConfig, trial: FrozenTrial, evaluation: Evaluation
) -> None:
    """Makes sure that what is to stand on a front has all that a front is made of.

    Raises:
        UserError: If a value is missing.
    """
    missing = [m.name for m in config.objectives if m.name not in evaluation.values]
    if evaluation.feasible and missing:
        raise UserError(
            f"{run.path}: trial {trial.number} is finished but its evaluation "
            f"({run.evaluation_file(evaluation.hash)}) has no {missing[0]}; delete that file and "
            "go on with --resume, which evaluates it again"
        )


def publish_measured(results: RunResults, study: optuna.Study) -> None:
    """Writes to a shared study the latencies that were measured after their trials were told."""
    told = study.get_trials(deepcopy=False)
    for trial in results.trials:
        before = carried_evaluation(told[trial.number])
        if before is not None and before != trial.evaluation:
            study.set_user_attr(MEASURED + trial.hash, evaluation_to_json(trial.evaluation))
