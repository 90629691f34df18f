"""Durations are read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.problem.formatting import seconds_of
from search_spaces.graphs.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1h1m1s", 3661), (" 45 ", 45)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_every_duration_is_hours_minutes_and_seconds(
    hours: int, minutes: int, seconds: int
) -> None:
    total = 3600 * hours + 60 * minutes + seconds
    if total:
        assert seconds_of(f"{hours}h{minutes}m{seconds}s") == total


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "5 m", "m", "soon", "1.5h", "1s1m", "5d"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(UserError, match="a duration must be a duration such as 90s, "):
        seconds_of(text)
