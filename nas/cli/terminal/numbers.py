"""Numbers: a metric's value with the digits that it deserves."""

from nas.problem.answers import wilson
from nas.problem.formatting import interval_in_words, milliseconds, percent, scaled
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


def accuracy_of(share: float, images: int | None) -> str:
    """Returns an accuracy with its interval, where it is known how many images it is of.

    >>> accuracy_of(0.95, 40), accuracy_of(0.95, None)
    ('95.00 % (83.5 to 98.6 %)', '95.00 %')
    """
    return percent(share) + (f" ({interval_in_words(wilson(share, images))})" if images else "")
