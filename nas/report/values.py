"""Values: a trial's numbers as the report writes them."""

from nas.metrics import Metric
from nas.numbers import shown
from nas.results import TrialResult

PREDICTED = "~"  # before a latency that is not measured


def value_of(trial: TrialResult, metric: Metric) -> str:
    """Returns a trial's value with its unit, marked where it is predicted; "" where unknown."""
    value = trial.evaluation.values.get(metric.name)
    if value is None:
        return ""
    mark = PREDICTED if metric.name == "latency_ms" and trial.evaluation.is_predicted else ""
    return mark + shown(metric, value)
