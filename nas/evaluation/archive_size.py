"""Archive size: what a trained candidate takes as one file, by the entropy of its weights.

The estimate takes a moment, so every candidate has one; the files themselves are written for the
front alone, at the end.
"""

from dataclasses import replace

from nas.evaluation.feasibility import violations_of, why_infeasible
from nas.models.archives.estimate import estimated_bytes
from nas.problem.metrics import ARCHIVE_BYTES
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation
from search_spaces.graphs.model import Model


def needs_archive(config: RunConfig) -> bool:
    """Whether a run optimises or bounds the size of archives."""
    used = {metric.name for metric in config.objectives}
    return ARCHIVE_BYTES in used | {rule.metric.name for rule in config.constraints}


def archive_value(model: Model) -> dict[str, float]:
    """Returns the metric by its name, as it is estimated for a trained network."""
    return {ARCHIVE_BYTES: float(estimated_bytes(model))}


def with_written(config: RunConfig, evaluation: Evaluation, size_bytes: int) -> Evaluation:
    """Returns a feasible candidate's evaluation with its archive's true size, judged by it."""
    values = {**evaluation.values, ARCHIVE_BYTES: float(size_bytes)}
    reason = why_infeasible(config, values, evaluation.latency)
    return replace(
        evaluation,
        status="finished" if reason is None else "infeasible",
        reason=reason,
        values=values,
        violations=violations_of(config, values, evaluation.latency),
        estimated_archive_bytes=round(evaluation.values[ARCHIVE_BYTES]),
    )
