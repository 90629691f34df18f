"""Trial table: every trial of a run with all that is known of it, for a spreadsheet or pandas."""

import csv
from collections.abc import Iterator
from typing import IO

from nas.problem.metrics import ARCHIVE_BYTES, METRICS
from nas.runs.evaluation import Evaluation
from nas.runs.findings.front import PICKS
from nas.study.results import RunResults, TrialResult

Cell = str | int | float | None


def write_csv(results: RunResults, file: IO[str]) -> int:
    """Writes a head and a line for each trial, in the order of their numbers; returns how many.

    What is not known of a trial is left empty.
    """
    rows = list(trial_rows(results))
    found = dict.fromkeys(name for row in rows for name in row)
    genes = [name for name in found if name.startswith("gene.")]
    writer = csv.DictWriter(file, [name for name in found if name not in genes] + genes)
    writer.writeheader()
    writer.writerows(rows)
    return len(rows)


def trial_rows(results: RunResults) -> Iterator[dict[str, Cell]]:
    """Yields a row for each trial: the same names in each, and its genes."""
    front = {trial.hash for trial in results.front}
    picks = {which: results.pick(which).hash for which in PICKS} if front else {}
    scores = results.test_accuracies
    known = {name for trial in results.trials for name in trial.evaluation.values}
    metrics = [*(name for name in METRICS if name in known), *sorted(known - METRICS.keys())]
    has_heirs = any(trial.evaluation.inherited is not None for trial in results.trials)
    phases = dict.fromkeys(p for trial in results.trials for p in trial.evaluation.seconds)
    for trial in results.trials:
        evaluation = trial.evaluation
        latency, predicted = evaluation.latency, evaluation.predicted
        yield {
            "trial": trial.number,
            "name": trial.name,
            "hash": trial.hash,
            "status": evaluation.status,
            "reason": evaluation.reason,
            "on_front": int(trial.hash in front),
            "picks": " ".join(which for which, key in picks.items() if key == trial.hash),
            **{name: evaluation.values.get(name) for name in metrics},
            "test_accuracy": scores.get(trial.hash),
            "latency_spread_ms": latency.spread_ms if latency else None,
            "latency_source": latency.source if latency else None,
            "predicted_latency_ms": predicted.median_ms if predicted else None,
            **archive_cells(evaluation, known),
            "epochs": evaluation.epochs,
            **heritage_cells(evaluation, has_heirs),
            "accuracy_by_epoch": " ".join(map(repr, evaluation.accuracy_history)),
            **{f"{phase}_s": evaluation.seconds.get(phase) for phase in phases},
            "repeats": " ".join(map(str, trial.repeats)),
            **genes_of(trial),
        }


def archive_cells(evaluation: Evaluation, known: set[str]) -> dict[str, Cell]:
    """Returns what the archive was estimated at, in a run that knows sizes of archives."""
    if ARCHIVE_BYTES not in known:
        return {}
    estimate = evaluation.estimated_archive_bytes
    if estimate is None and ARCHIVE_BYTES in evaluation.values:
        estimate = round(evaluation.values[ARCHIVE_BYTES])
    return {"estimated_archive_bytes": estimate}


def heritage_cells(evaluation: Evaluation, has_heirs: bool) -> dict[str, Cell]:
    """Returns whose weights a network began with, in a run where some did."""
    if not has_heirs:
        return {}
    heritage = evaluation.inherited
    parent, share = (heritage.parent, heritage.share) if heritage else (None, None)
    return {"inherited_from": parent, "inherited_share": share}


def genes_of(trial: TrialResult) -> dict[str, Cell]:
    return {
        f"gene.{name}": value if isinstance(value, str | int | float) else str(value)
        for name, value in trial.genes.items()
    }
