"""Feasibility: what the constraints say of a candidate whose latency may be predicted.

A measured latency keeps a bound or does not; a predicted one keeps it with a probability, and that
must reach the run's confidence.
"""

from collections.abc import Mapping
from dataclasses import replace

from latency_models.devices.latency import Latency, probability_within
from nas.problem.formatting import milliseconds
from nas.problem.metrics import Constraint, violations
from nas.problem.records import RunConfig
from nas.runs.evaluation import Evaluation


def latency_rules(config: RunConfig) -> tuple[Constraint, ...]:
    """Returns the constraints on latency."""
    return tuple(rule for rule in config.constraints if rule.metric.name == "latency_ms")


def probability_kept(rule: Constraint, latency: Latency) -> float:
    """Returns the probability that a measurement keeps a constraint on latency."""
    within = probability_within(latency, rule.limit)
    return within if rule.at_most else 1 - within


def is_uncertain(rule: Constraint, latency: Latency, confidence: float) -> bool:
    """Whether a prediction neither keeps nor breaks a constraint with enough confidence."""
    return 1 - confidence < probability_kept(rule, latency) < confidence


def excess(rule: Constraint, latency: Latency, confidence: float) -> float:
    """Returns how far a constraint on latency is exceeded; <= 0 where it holds.

    A share of the limit where the latency is measured, or is predicted to be past the limit; the
    probability that is missing where a prediction within the limit is too unsure.
    """
    past = rule.violation(latency.median_ms)
    if latency.source == "measured":
        return past
    # With a confidence of half or more, a prediction that has it is not past the limit.
    return max(past, confidence - probability_kept(rule, latency))


def violations_of(
    config: RunConfig, values: Mapping[str, float], latency: Latency | None
) -> dict[str, float]:
    """Returns by constraint how far it is exceeded, for those whose metric is known."""
    found = violations(config.constraints, values)
    if latency is not None:
        for rule in latency_rules(config):
            found[str(rule)] = excess(rule, latency, config.latency.confidence)
    return found


def broken_rules(config: RunConfig, exceeded: Mapping[str, float]) -> tuple[Constraint, ...]:
    """Returns the constraints that are exceeded."""
    return tuple(rule for rule in config.constraints if exceeded.get(str(rule), 0.0) > 0)


def why_infeasible(
    config: RunConfig, values: Mapping[str, float], latency: Latency | None
) -> str | None:
    """Returns in one line which constraints are broken by what; None where the known ones hold."""
    broken = []
    for rule in broken_rules(config, violations_of(config, values, latency)):
        value = values[rule.metric.name]
        if rule.metric.name == "latency_ms" and latency and latency.source == "predicted":
            broken.append(
                f"{rule} holds with probability {probability_kept(rule, latency):.2f}, predicted "
                f"{milliseconds(value)}; it must with {config.latency.confidence:g}"
            )
        else:
            broken.append(rule.broken_by(value))
    return "; ".join(broken) or None


def with_measured(config: RunConfig, evaluation: Evaluation, latency: Latency) -> Evaluation:
    """Returns the evaluation of a feasible candidate with its measured latency, judged by it."""
    values = {**evaluation.values, "latency_ms": latency.median_ms}
    reason = why_infeasible(config, values, latency)
    return replace(
        evaluation,
        status="finished" if reason is None else "infeasible",
        reason=reason,
        values=values,
        violations=violations_of(config, values, latency),
        latency=latency,
    )
