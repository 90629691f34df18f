"""Durations: times as people write them, such as 90s, 30m, 2h or 1h30m."""

import re

from search_spaces.graphs.errors import UserError

UNITS = (3600, 60, 1)


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
    total = sum(number * unit for number, unit in zip(parts, UNITS, strict=False))
    if not total:
        raise UserError(f"{what} must be a duration such as 90s, 15m or 2h, got {text!r}")
    return total
