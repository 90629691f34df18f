"""Retrained front: the front of a run as its networks are when each is trained from nothing.

``retrained_front.json`` is what ``nas retrain --front`` writes: every network of the search's
front with the values that it has then, and which of them nothing dominates any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from nas.problem.metrics import Metric
from nas.problem.pareto import non_dominated
from nas.runs.evaluation import INHERITED
from nas.runs.files import read_json, write_json
from nas.runs.folder import RunFolder
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UserError

FORMAT = "hwnas.retrained_front"
VERSION = 1
MOST_NAMES = 8  # in one line
REMEDY = "run nas retrain --front again, which keeps what is trained"


@dataclass(frozen=True, slots=True)
class RetrainedNetwork:
    """A network of the search's front.

    Attributes:
        values: Every metric by name: what training tells is of the retrained weights.
        epochs: Trained for, from nothing; 0 where its weights were given.
        on_front: Whether none of the others dominates it.
        test_values: What training tells, on the test images.
    """

    hash: str
    values: Mapping[str, float]
    epochs: int
    on_front: bool = False
    test_values: Mapping[str, float] = field(default_factory=dict)


def with_front(
    networks: Sequence[RetrainedNetwork], metrics: Sequence[Metric]
) -> tuple[RetrainedNetwork, ...]:
    """Returns the networks with what is now the front of them, best in the first objective first.

    Raises:
        UserError: If a value is missing.
    """
    for each in networks:
        if missing := [metric.name for metric in metrics if metric.name not in each.values]:
            raise UserError(f"retrained network {each.hash} has no {missing[0]}; {REMEDY}")
    rows = [[each.values[metric.name] for metric in metrics] for each in networks]
    mask = non_dominated(np.array(rows, dtype=np.float64).reshape(-1, len(metrics)), metrics)
    told = [
        RetrainedNetwork(each.hash, each.values, each.epochs, bool(kept), each.test_values)
        for each, kept in zip(networks, mask, strict=True)
    ]
    first = metrics[0]
    return tuple(sorted(told, key=lambda each: first.sign * each.values[first.name]))


def retrained_front_file(run: RunFolder) -> Path:
    return run.path / "retrained_front.json"


def write_retrained_front(run: RunFolder, networks: Sequence[RetrainedNetwork]) -> None:
    rows = [asdict(each) for each in networks]
    write_json(retrained_front_file(run), {"format": FORMAT, "version": VERSION, "networks": rows})


def read_retrained_front(run: RunFolder) -> tuple[RetrainedNetwork, ...]:
    """Returns the retrained networks, those of the front among them; () where there are none.

    Raises:
        UserError: If the file is damaged or of a newer version.
    """
    path = retrained_front_file(run)
    try:
        data = read_json(path, REMEDY, {"networks": tuple[RetrainedNetwork, ...]})
    except FileNotFoundError:
        return ()
    if (data.get("format"), data.get("version")) != (FORMAT, VERSION) or "networks" not in data:
        raise UserError(f"{path} must be of format {FORMAT!r} version {VERSION}; {REMEDY}")
    networks: tuple[RetrainedNetwork, ...] = data["networks"]
    return networks


def not_retrained(
    results: RunResults, networks: Sequence[RetrainedNetwork]
) -> tuple[TrialResult, ...]:
    """Returns the networks of the search's front that are not among the retrained ones."""
    known = {each.hash for each in networks}
    return tuple(trial for trial in results.front if trial.hash not in known)


def heirs_in_one_line(results: RunResults) -> str:
    """Returns what became of inherited weights, in one line; "" where nothing inherited."""
    heirs = {t.hash for t in results.trials if t.evaluation.inherited is not None}
    if not heirs:
        return ""
    said = f"inherited weights: {len(heirs)} of {len(results.trials)} networks"
    marked = [trial.name for trial in results.front if trial.hash in heirs]
    if not marked:
        return f"{said}, none of the front"
    names = ", ".join(marked[:MOST_NAMES]) + ", ..." * (len(marked) > MOST_NAMES)
    said += f", {len(marked)} of the {len(results.front)} of the front ({names})"
    known = {each.hash for each in read_retrained_front(results.run)}
    if known >= {trial.hash for trial in results.front}:
        return f"{said}; the front was retrained from nothing"
    return (
        f"{said}: their accuracies ({INHERITED}) are not final before "
        f"nas retrain {results.run.path} --front"
    )


def same_order(results: RunResults, networks: Sequence[RetrainedNetwork]) -> float | None:
    """Returns how alike the search and retraining order accuracies: Kendall's rank correlation.

    From -1 to 1, pairs that are equal in one of them left out (tau-a of the others); None with
    fewer than 3 networks.
    """
    before = {trial.hash: trial.evaluation.values.get("accuracy") for trial in results.trials}
    pairs = [
        (old, each.values["accuracy"])
        for each in networks
        if each.epochs and (old := before.get(each.hash)) is not None
    ]
    if len(pairs) < 3:
        return None
    signs = [
        np.sign((one[0] - other[0]) * (one[1] - other[1])) for one, other in combinations(pairs, 2)
    ]
    told = [sign for sign in signs if sign]
    return float(np.mean(told)) if told else None
