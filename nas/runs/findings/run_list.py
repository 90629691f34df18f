"""Run list: what every run in a folder is about, a row each; a damaged run is a row as well."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nas.problem.metrics import METRICS
from nas.runs.disk import DiskUse
from nas.runs.files import read_json
from nas.runs.folder import has_run
from nas.study.results import RunResults
from nas.study.status import Best, Status, StatusReader
from search_spaces.graphs.errors import UserError

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run is about.

    Attributes:
        state: "searching", "died", "finished" or "not running".
        done: Distinct architectures evaluated, baselines not counted.
        best_accuracy: Of the feasible; None before there is one.
        best: Of the first objective that tells what networks get right; else of accuracy.
        front: Networks on its front.
        started: When it was made; None where it does not say so.
    """

    path: Path
    state: str
    done: int
    wanted: int
    best_accuracy: float | None
    best: Best | None
    front: int
    device: str
    started: datetime | None
    disk: DiskUse


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A run that cannot be read, and why."""

    path: Path
    reason: str


def list_runs(folder: Path) -> tuple[RunSummary | UnreadableRun, ...]:
    """Returns the runs in a folder, or the run that it is itself, in the order of their names.

    Raises:
        UserError: If there is none.
    """
    paths = [folder] if has_run(folder) else sorted(filter(has_run, sub_folders(folder)))
    if not paths:
        raise UserError(
            f"{folder} holds no runs; give the folder that 'nas search' made them in (--runs), "
            "e.g. runs"
        )
    return tuple(map(summary_of, paths))


def sub_folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def summary_of(path: Path) -> RunSummary | UnreadableRun:
    try:
        status, results = StatusReader(path).read()
        accuracies = [t.evaluation.values.get("accuracy") for t in results.feasible]
        known = [accuracy for accuracy in accuracies if accuracy is not None]
        return RunSummary(
            path,
            status.state,
            status.done,
            status.wanted,
            max(known, default=None),
            best_quality(status, results),
            status.front,
            status.device,
            started(path),
            status.disk,
        )
    except UNREADABLE as error:
        is_ours = isinstance(error, UserError | OSError)
        return UnreadableRun(path, str(error) if is_ours else f"it is damaged: {error!r}")


def best_quality(status: Status, results: RunResults) -> Best | None:
    for best in status.best:
        if METRICS[best.objective].is_quality:
            return best
    name = "accuracy"
    trained = [trial for trial in results.feasible if name in trial.evaluation.values]
    if not trained:
        return None
    trial = max(trained, key=lambda trial: trial.evaluation.values[name])
    interval = results.interval(trial, METRICS[name])
    evaluation = trial.evaluation
    return Best(name, evaluation.values[name], trial.name, interval, evaluation.mark(name))


def started(path: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(read_json(path / "run.json")["started"])
    except (KeyError, TypeError, ValueError):
        return None


def run_list_json(runs: Sequence[RunSummary | UnreadableRun]) -> list[dict[str, Any]]:
    """Returns a list of runs as JSON-ready data."""
    rows = []
    for run in runs:
        row = asdict(run) | {"path": str(run.path)}
        if isinstance(run, RunSummary):
            row["started"] = run.started and run.started.isoformat()
        rows.append(row)
    return rows
