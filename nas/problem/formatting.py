"""Numbers: how values are written for people, and durations by them."""

import re
from typing import TYPE_CHECKING

from nas.problem.metrics import Metric
from search_spaces.graphs.errors import UserError

if TYPE_CHECKING:
    from nas.problem.answers import ScoreInterval

DURATION_UNITS_S = (3600, 60, 1)

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def shown(metric: Metric, value: float) -> str:
    """Returns a metric's value with its unit.

    >>> from nas.problem.metrics import METRICS
    >>> shown(METRICS["accuracy"], 0.97784), shown(METRICS["latency_ms"], 0.0714159)
    ('97.78 %', '0.0714 ms')
    >>> shown(METRICS["macs"], 1234567), shown(METRICS["size_bytes"], 840)
    ('1.23 M', '840 B')
    """
    if metric.is_quality:
        return percent(value)
    if metric.unit == "ms":
        return milliseconds(value)
    return scaled(value, metric.unit)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def interval_in_words(interval: "ScoreInterval") -> str:
    """
    >>> from nas.problem.answers import ScoreInterval
    >>> interval_in_words(ScoreInterval(0.8351, 0.9862))
    '83.5 to 98.6 %'
    """
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def milliseconds(value: float) -> str:
    """
    >>> milliseconds(12.3456), milliseconds(1234.5), milliseconds(0.0000874)
    ('12.3 ms', '1234 ms', '0.0874 us')
    """
    if value < 1e-3:
        return f"{1e3 * value:.3g} us"
    return f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"


def scaled(value: float, unit: str = "") -> str:
    """Returns three digits and an SI prefix.

    >>> scaled(1500, "B"), scaled(999), scaled(2.5e9)
    ('1.50 kB', '999', '2.50 G')
    """
    for size, prefix in PREFIXES:
        if abs(value) >= size:
            return f"{three_digits(value / size)} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def three_digits(value: float) -> str:
    digits = len(str(int(abs(value))))
    return f"{value:.{max(0, 3 - digits)}f}"


def in_words(count: int) -> str:
    """Returns a count as people say it.

    >>> in_words(950), in_words(367416), in_words(414_000_000_000), in_words(10**20)
    ('950', '367 thousand', '414 billion', '10^20')
    """
    if count < 1000:
        return str(count)
    for size, word in ((10**3, "thousand"), (10**6, "million"), (10**9, "billion")):
        if count < 1000 * size:
            return f"{three_digits(count / size)} {word}"
    return f"10^{len(str(count)) - 1}"


def duration(seconds: float) -> str:
    """
    >>> duration(42.44), duration(125), duration(7300)
    ('42.4 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def seconds_of(text: str | float, what: str = "a duration") -> float:
    """Returns a duration such as 90s, 15m or 2h in seconds; a number alone counts as seconds.

    >>> seconds_of("15m"), seconds_of("1h30m"), seconds_of("45"), seconds_of(90)
    (900.0, 5400.0, 45.0, 90.0)

    Args:
        what: What it is the duration of, for the message.

    Raises:
        UserError: If it is none, or not above 0.
    """
    pattern = r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?"
    found = re.fullmatch(pattern, str(text).strip(), re.ASCII)
    parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    total = sum(number * unit for number, unit in zip(parts, DURATION_UNITS_S, strict=False))
    if not total:
        raise UserError(f"{what} must be a duration such as 90s, 15m or 2h, got {text!r}")
    return total
