"""Earlier run: what one run found, as another may learn from it and keeps it in its own folder.

Genes and values only, of a bounded number of trials: the run that learns from them does the same
again when the folder that they came from has grown or gone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import METRICS, Metric
from nas.problem.pareto import non_dominated
from nas.runs.files import read_json, write_whole
from nas.runs.folder import RunFolder
from nas.study.results import TrialResult
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as

MOST_TRIALS = 300  # that are kept of one run
MOST_GENES = 100_000  # in all of these
ABSENT = -1  # in the place of a value of a gene that an architecture has not

FORMAT, VERSION = "hwnas.earlier_runs", 1
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class EarlierRun:
    """What a run found.

    Attributes:
        name: What people call it: the path that it was given by.
        choices: The values of each gene that its trials had.
        codes: Which of them each trial has, (trials, genes); `ABSENT` where it has not the gene.
        values: By metric, a value for each trial, NaN where it is not known.
    """

    name: str
    choices: Mapping[str, tuple[Value, ...]]
    codes: NDArray[np.int64]
    values: Mapping[str, Array]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.array([len(values) for values in self.choices.values()], dtype=np.int64)

    def genes(self, trial: int) -> dict[str, Value]:
        pairs = zip(self.choices.items(), self.codes[trial], strict=True)
        return {name: values[code] for (name, values), code in pairs if code != ABSENT}

    def front(self, metrics: Sequence[Metric]) -> list[int]:
        """Returns the trials that none beats in those of the metrics that the run knows."""
        known = [m for m in metrics if m.name in self.values]
        if not known:
            return []
        points = np.stack([self.values[m.name] for m in known], axis=1)
        whole = np.flatnonzero(np.isfinite(points).all(axis=1))
        return [int(at) for at in whole[non_dominated(points[whole], known)]]


def learnable(metrics: Sequence[Metric]) -> list[Metric]:
    """Returns the metrics that graphs alone do not tell."""
    return [metric for metric in metrics if metric.phase != "cost"]


def earlier_run(
    name: str, trials: Sequence[TrialResult], metrics: Sequence[Metric]
) -> EarlierRun | None:
    """Returns what trials found; None where none of them has genes and a value.

    Of more than are kept those on the front stay, and the others evenly.

    Args:
        metrics: By which the front is told, of those that are known.
    """
    told = [(t.genes, values) for t in trials if t.genes and (values := values_of(t))]
    if not told:
        return None
    choices: dict[str, dict[Value, int]] = {}
    for genes, _ in told:
        for gene, value in genes.items():
            places = choices.setdefault(gene, {})
            places.setdefault(value, len(places))
    codes = [
        [places[genes[gene]] if gene in genes else ABSENT for gene, places in choices.items()]
        for genes, _ in told
    ]
    known = [metric for metric in METRICS if any(metric in values for _, values in told)]
    found = EarlierRun(
        name,
        {gene: tuple(places) for gene, places in choices.items()},
        np.array(codes, dtype=np.int64).reshape(len(told), len(choices)),
        {m: np.array([values.get(m, np.nan) for _, values in told]) for m in known},
    )
    return bounded(found, metrics)


def values_of(trial: TrialResult) -> dict[str, float]:
    """Returns what is known of a trial, without what a training of too few epochs told."""
    evaluation = trial.evaluation
    is_whole = evaluation.epochs > 0 and evaluation.status != "stopped"
    return {
        name: value
        for name, value in evaluation.values.items()
        if name in METRICS and (is_whole or METRICS[name].phase != "training")
    }


def bounded(run: EarlierRun, metrics: Sequence[Metric]) -> EarlierRun:
    most = min(MOST_TRIALS, max(1, MOST_GENES // max(1, len(run.choices))))
    if len(run.codes) <= most:
        return run
    front = run.front(metrics)[:most]
    others = np.setdiff1d(np.arange(len(run.codes)), front)
    evenly = others[np.linspace(0, len(others) - 1, most - len(front)).astype(int)]
    kept = np.sort(np.concatenate([front, evenly]).astype(int))
    values = {metric: column[kept] for metric, column in run.values.items()}
    return EarlierRun(run.name, run.choices, run.codes[kept], values)


def to_json(runs: Sequence[EarlierRun]) -> dict[str, Any]:
    """Returns runs as JSON-ready data."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "runs": [
            {
                "name": run.name,
                "choices": {gene: list(values) for gene, values in run.choices.items()},
                "codes": run.codes.tolist(),
                "values": {
                    metric: [value if np.isfinite(value) else None for value in column.tolist()]
                    for metric, column in run.values.items()
                },
            }
            for run in runs
        ],
    }


def from_json(data: Mapping[str, Any]) -> tuple[EarlierRun, ...]:
    """Returns the runs that ``data`` holds.

    Raises:
        UserError: If it is damaged, or of a newer format.
    """
    kind = (data.get("format"), data.get("version"))
    if kind != (FORMAT, VERSION):
        raise UserError(f"it must be {FORMAT} version {VERSION}, got {kind[0]} {kind[1]}")
    rows = read_as(tuple[Mapping[str, Any], ...], data.get("runs"), "runs")
    return tuple(run_from_json(row, f"runs[{at}]") for at, row in enumerate(rows))


def run_from_json(row: Mapping[str, Any], at: str) -> EarlierRun:
    name = read_as(str, row.get("name"), f"{at}.name")
    kinds = Mapping[str, tuple[str | int | float, ...]]
    choices = read_as(kinds, row.get("choices"), f"{at}.choices")
    columns = read_as(Mapping[str, tuple[float | None, ...]], row.get("values"), f"{at}.values")
    try:
        codes = np.array(row["codes"])  # each number by itself would take a second to check
    except (KeyError, ValueError):
        codes = np.zeros(0)
    sizes = np.array([len(values) for values in choices.values()])
    is_table = codes.ndim == 2 and codes.dtype == np.int64 and codes.shape[1] == len(sizes)
    if not is_table or not ((codes >= ABSENT) & (codes < sizes)).all():
        raise UserError(f"{at}.codes must have a place among its choices for each gene")
    if unknown := [metric for metric in columns if metric not in METRICS]:
        raise UserError(f"{at}.values has no metric {unknown[0]!r}")
    if any(len(column) != len(codes) for column in columns.values()):
        raise UserError(f"{at}.values must have one for each of {len(codes)} trials")
    values = {m: np.array(column, dtype=np.float64) for m, column in columns.items()}
    return EarlierRun(name, choices, codes, values)


def keep(run: RunFolder, earlier: Sequence[EarlierRun]) -> None:
    """Writes what is learned from into the run that learns, once."""
    if earlier and not run.earlier_runs_file.exists():
        write_whole(run.earlier_runs_file, json.dumps(to_json(earlier)).encode())


def kept(run: RunFolder) -> tuple[EarlierRun, ...]:
    """Returns what a run learns from, as it has kept it.

    Raises:
        UserError: If the file is damaged.
    """
    path: Path = run.earlier_runs_file
    if not path.exists():
        return ()
    remedy = "restore it from a copy, or search anew with --set name=NAME"
    data = read_json(path, remedy)
    try:
        return from_json(data)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from None
