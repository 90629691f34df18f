"""Told: what a study is told of an evaluation: values for its samplers, and what is exceeded."""

from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation


def told_values(config: RunConfig, evaluation: Evaluation) -> list[float]:
    """Returns a value for each objective; its worst where it could not be had."""
    return [evaluation.values.get(m.name, m.worst) for m in config.objectives]


def told_constraints(config: RunConfig, evaluation: Evaluation) -> dict[str, float]:
    """Returns by constraint how far it is exceeded; above 0 for all that is in no front."""
    found = dict(evaluation.violations)
    failed = not evaluation.feasible and not any(v > 0 for v in found.values())
    if evaluation.status == "stopped":  # no sampler shall take its accuracy for a full one
        found["fully trained"] = 1 - evaluation.epochs / config.training.epochs
    elif failed:
        found["runs"] = 1.0
    return found
