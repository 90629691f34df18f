"""Style: numbers and tables as people read them."""

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True)


def table(*columns: str, title: str | None = None) -> Table:
    """Returns an empty table; columns that begin with ``>`` are numbers, aligned right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if number else "left", no_wrap=number)
    return made


def metric(name: str, value: float | None) -> str:
    """Returns a metric's value with the digits that it deserves.

    >>> metric("accuracy", 0.98765), metric("latency_ms", 0.012345), metric("macs", 1234567)
    ('98.77 %', '0.0123 ms', '1.23 M')
    """
    if value is None:
        return "-"
    if name.endswith("accuracy"):
        return f"{value * 100:.2f} %"
    if name.endswith("_ms"):
        return f"{value:.3g} ms"
    return scaled(value) + ("B" if name.endswith("_bytes") else "")


def scaled(value: float) -> str:
    """
    >>> scaled(950), scaled(15_400), scaled(2_300_000_000)
    ('950', '15.4 k', '2.3 G')
    """
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """
    >>> seconds(3.21), seconds(75), seconds(3700)
    ('3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
