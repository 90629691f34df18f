"""Style: numbers and tables as people read them."""

from rich.console import Console
from rich.table import Table

from nas.problem.formatting import milliseconds, percent, scaled

console = Console(soft_wrap=True)


def table(*columns: str, title: str | None = None) -> Table:
    """Returns an empty table; columns that begin with ``>`` are numbers, aligned right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if number else "left", no_wrap=number)
    return made


def metric(name: str, value: float | None) -> str:
    """Returns a metric's value with the digits that it deserves, by the unit in its name.

    >>> metric("test_accuracy", 0.98765), metric("latency_ms", 0.012345), metric("macs", 1234567)
    ('98.77 %', '0.0123 ms', '1.23 M')
    """
    if value is None:
        return "-"
    if name.endswith("accuracy"):
        return percent(value)
    if name.endswith("_ms"):
        return milliseconds(value)
    return scaled(value, "B" if name.endswith("_bytes") else "")
