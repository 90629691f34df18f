"""Numbers: a metric's value with the digits that it deserves."""

from nas.problem.formatting import milliseconds, percent, scaled
from nas.problem.metrics import QUALITIES

QUALITY_NAMES = tuple(quality.name for quality in QUALITIES)


def metric(name: str, value: float | None) -> str:
    """Returns a metric's value with the digits that it deserves, by the unit in its name.

    >>> metric("test_accuracy", 0.98765), metric("latency_ms", 0.012345), metric("macs", 1234567)
    ('98.77 %', '0.0123 ms', '1.23 M')
    """
    if value is None:
        return "-"
    if name.endswith(QUALITY_NAMES):
        return percent(value)
    if name.endswith("_ms"):
        return milliseconds(value)
    return scaled(value, "B" if name.endswith("_bytes") else "")
