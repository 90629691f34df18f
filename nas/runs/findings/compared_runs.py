"""Compared runs: the fronts of several runs, held against one reference and against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.problem import yaml_text
from nas.problem.addresses import without_passwords
from nas.problem.metrics import Metric
from nas.problem.pareto import hypervolume, losses, nadir, non_dominated
from nas.problem.run_file import differences, read_kept_file, to_yaml
from nas.runs.files import read_json
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UserError


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A network of a run's front.

    Attributes:
        run: The number of its run among those compared.
        beaten_by: Numbers of the runs that have a network which dominates it.
    """

    run: int
    trial: TrialResult
    beaten_by: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        names: What people call the runs, in the order in which they were given.
        reference: The corner that all hypervolumes go up to, a value for each metric.
        hypervolumes: One for each run.
        points: The fronts of all runs, best in the first objective first.
        differences: What their configurations differ in, as ``key: old -> new`` beside the first.
    """

    names: tuple[str, ...]
    metrics: tuple[Metric, ...]
    reference: tuple[float, ...]
    hypervolumes: tuple[float, ...]
    points: tuple[FrontPoint, ...]
    differences: tuple[str, ...]

    def front(self, run: int) -> tuple[FrontPoint, ...]:
        return tuple(point for point in self.points if point.run == run)

    def on_joint_front(self, run: int) -> int:
        """Returns how many networks of a run no other run beats."""
        return sum(not point.beaten_by for point in self.front(run))

    def beats(self, run: int, other: int) -> int:
        """Returns how many networks of the front of ``other`` one of ``run`` dominates."""
        return sum(run in point.beaten_by for point in self.front(other))


def compare_runs(runs: Sequence[tuple[str, RunResults]]) -> Comparison:
    """Returns runs side by side.

    The reference is that of the run files where all agree on one, else the worst value on any of
    the fronts.

    Args:
        runs: Each with its name for people.

    Raises:
        UserError: If numbers of one run mean something else in another, or nothing was found.
    """
    for name, results in runs[1:]:
        refuse_others(runs[0], (name, results))
    found = [results for _, results in runs]
    fronts = [results.front for results in found]
    if not any(fronts):
        names = ", ".join(name for name, _ in runs)
        raise UserError(f"none of {names} has a feasible network yet; go on with their searches")
    metrics = found[0].metrics
    reference = common_reference(found, metrics)
    points = sorted(
        (
            FrontPoint(run, trial, beaten_by(trial, fronts, metrics))
            for run, front in enumerate(fronts)
            for trial in front
        ),
        key=lambda point: tuple(losses(values_of([point.trial], metrics), metrics)[0]),
    )
    return Comparison(
        tuple(name for name, _ in runs),
        metrics,
        reference,
        tuple(hypervolume(values_of(front, metrics), reference, metrics) for front in fronts),
        tuple(points),
        tuple(line for other in found[1:] for line in changed(found[0], other)),
    )


def values_of(trials: Sequence[TrialResult], metrics: Sequence[Metric]) -> "np.ndarray[Any, Any]":
    rows = [[trial.evaluation.values[metric.name] for metric in metrics] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(metrics))


def beaten_by(
    trial: TrialResult, fronts: Sequence[Sequence[TrialResult]], metrics: Sequence[Metric]
) -> tuple[int, ...]:
    own = values_of([trial], metrics)
    return tuple(
        run
        for run, front in enumerate(fronts)
        if not non_dominated(np.vstack([own, values_of(front, metrics)]), metrics)[0]
    )


def common_reference(found: Sequence[RunResults], metrics: Sequence[Metric]) -> tuple[float, ...]:
    worst = nadir(np.vstack([values_of(run.front, metrics) for run in found]), metrics)
    given = [run.config.reference for run in found]
    return tuple(
        given[0][metric.name]
        if all(each.get(metric.name) == given[0].get(metric.name, np.nan) for each in given)
        else value
        for metric, value in zip(metrics, worst, strict=True)
    )


def refuse_others(first: tuple[str, RunResults], other: tuple[str, RunResults]) -> None:
    """Makes sure that two runs speak of the same numbers.

    Raises:
        UserError: If their objectives, their data, or what latency was measured on differ.
    """
    for what, told, remedy in (
        ("objectives", objectives, "compare runs of the same objectives"),
        ("images", images, "compare runs on the same data and splits (data.json)"),
        ("device", device, "compare runs whose latencies are of one device"),
        ("machine", machine, "compare runs whose latencies are of one machine"),
    ):
        before, after = told(first[1]), told(other[1])
        if before is not None and after is not None and before != after:
            raise UserError(
                f"{other[0]} cannot be compared with {first[0]}: its {what}: {after}; there: "
                f"{before}; {remedy}"
            )


def objectives(results: RunResults) -> str:
    return ", ".join(sorted(metric.name for metric in results.metrics))


def images(results: RunResults) -> str | None:
    """Returns which images accuracy is about; None where no image was read yet."""
    try:
        fingerprints: Mapping[str, str] = read_json(results.run.data_file)["fingerprints"]
    except (FileNotFoundError, KeyError):
        return None
    return ", ".join(f"{split} {key[:8]}" for split, key in sorted(fingerprints.items()))


def device(results: RunResults) -> str | None:
    """Returns whose latency is an objective; None where none is."""
    return results.config.latency.device if has_latency(results) else None


def machine(results: RunResults) -> str | None:
    """Returns what latencies were measured on; None where none was."""
    latencies = [t.evaluation.latency for t in results.trials if has_latency(results)]
    how = [latency.conditions for latency in latencies if latency and latency.conditions]
    return " or ".join(sorted({f"{each.cpu} with {each.runtime}" for each in how})) or None


def has_latency(results: RunResults) -> bool:
    return any(metric.name == "latency_ms" for metric in results.metrics)


def changed(first: RunResults, other: RunResults) -> list[str]:
    """Returns what differs in two configurations; keys younger than a run have their defaults."""
    before, after = (
        yaml_text.load(to_yaml(read_kept_file(run.run.config_file))) for run in (first, other)
    )
    lines = differences(before, after)
    return [without_passwords(line) for line in lines if not line.startswith("name:")]


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Returns a comparison as JSON-ready data."""
    numbers = range(len(found.names))
    return {
        "reference": {m.name: v for m, v in zip(found.metrics, found.reference, strict=True)},
        "runs": [
            {
                "run": found.names[run],
                "front": len(found.front(run)),
                "hypervolume": found.hypervolumes[run],
                "unbeaten": found.on_joint_front(run),
                "beats": {
                    found.names[other]: found.beats(run, other)
                    for other in numbers
                    if other != run
                },
            }
            for run in numbers
        ],
        "points": [
            {
                "run": found.names[point.run],
                "trial": point.trial.number,
                "name": point.trial.name,
                "values": {m.name: point.trial.evaluation.values[m.name] for m in found.metrics},
                "beaten_by": [found.names[run] for run in point.beaten_by],
            }
            for point in found.points
        ],
        "differences": list(found.differences),
    }
