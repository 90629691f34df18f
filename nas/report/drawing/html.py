"""HTML: pieces of a page in which everything that comes from a file is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from nas.problem.formatting import interval_in_words, shown
from nas.problem.metrics import Metric
from nas.runs.evaluation import GUESSED
from nas.study.results import RunResults, TrialResult


class Html(str):
    """Text that is HTML already; every other string is escaped before it enters a page."""

    __slots__ = ()


def html(value: object) -> Html:
    """Returns ``value`` as HTML.

    >>> html("a < b"), html(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(*parts: object) -> Html:
    """Returns the parts one after another, those that are not HTML escaped."""
    return Html("\n".join(html(part) for part in parts))


def tag(name: str, *parts: object, classes: str = "") -> Html:
    """
    >>> tag("p", "a & b", classes="note")
    '<p class="note">a &amp; b</p>'
    """
    attribute = f' class="{escape(classes)}"' if classes else ""
    return Html(f"<{name}{attribute}>{''.join(html(part) for part in parts)}</{name}>")


TITLES = {
    "front": "Pareto front",
    "network": "Chosen network",
    "classes": "Classes",
    "baselines": "Baselines",
    "history": "Progress",
    "learning": "Learning curves",
    "predictions": "Predicted latency",
    "archives": "Archive sizes",
    "importance": "Gene importance",
    "learned": "What the search learned",
    "stopped": "Stopped early",
    "infeasible": "Infeasible",
    "provenance": "How the numbers were made",
}


def section(key: str, *parts: object) -> Html:
    return Html(f'<section id="{key}"><h2>{html(TITLES[key])}</h2>\n{join(*parts)}</section>')


def navigation() -> Html:
    links = (f'<a href="#{key}">{html(name)}</a>' for key, name in TITLES.items())
    return tag("nav", *map(Html, links))


def card(name: str, value: str, *notes: str) -> Html:
    """Returns a number with its name, and what it is compared with."""
    parts = (("label", name), ("value", value), *(("versus", note) for note in notes))
    return tag("div", *(tag("div", text, classes=kind) for kind, text in parts), classes="card")


def details(title: object, *parts: object) -> Html:
    """Returns parts that are folded away until the title is clicked."""
    return Html(f"<details><summary>{html(title)}</summary>{join(*parts)}</details>")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[int] = (),
    wide: int | None = None,
    foot: Sequence[object] | None = None,
    marked: Iterable[int] = (),
) -> Html:
    """Returns a table that scrolls sideways where it is wider than the page.

    Args:
        numbers: Columns that are aligned to the right.
        wide: A column of running text, which may break into lines.
        foot: A last row that stands apart.
        marked: Rows that are emphasised.
    """
    kinds = dict.fromkeys(numbers, "number") | ({} if wide is None else {wide: "wide"})
    emphasised = set(marked)

    def row(cells: Sequence[object], kind: str, classes: str = "") -> Html:
        return tag(
            "tr",
            *(tag(kind, cell, classes=kinds.get(column, "")) for column, cell in enumerate(cells)),
            classes=classes,
        )

    body = [row(cells, "td", "marked" if n in emphasised else "") for n, cells in enumerate(rows)]
    parts = [tag("thead", row(head, "th")), tag("tbody", *body)]
    if foot is not None:
        parts.append(tag("tfoot", row(foot, "td")))
    return tag("div", tag("table", *parts), classes="scroll")


def facts(rows: Iterable[tuple[str, object]]) -> Html:
    """Returns names and values side by side."""
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in rows))


PREDICTED = GUESSED  # before a latency that is not measured, or a size that is only estimated


def value_of(trial: TrialResult, metric: Metric) -> str:
    """Returns a trial's value with its unit, marked where it is a guess; "" where unknown."""
    value = trial.evaluation.values.get(metric.name)
    if value is None:
        return ""
    mark = trial.evaluation.mark(metric.name)
    return mark + shown(metric, value)


def scored(results: RunResults, trial: TrialResult, metric: Metric) -> str:
    """Returns a trial's value as `value_of`, with the interval of a share of images."""
    interval = results.interval(trial, metric)
    value = value_of(trial, metric)
    return value if interval is None else f"{value} ({interval_in_words(interval)})"
