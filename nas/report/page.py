"""Page: the report of a run as one HTML file that needs nothing from the network."""

from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from nas.report import sections
from nas.report.classes import classes
from nas.report.curves import learning_curves
from nas.report.drawing.html import PREDICTED, Html, html, join, navigation, tag
from nas.report.learned import what_was_learned
from nas.report.network import chosen_network
from nas.report.predictions import archive_sizes, predicted_latency
from nas.runs.certainty import class_names, one_answer
from nas.runs.files import write_whole
from nas.runs.lock import is_locked
from nas.study.results import RunResults


def write_report(results: RunResults) -> Path:
    """Writes ``report.html`` into the run's folder and returns its path.

    Raises:
        UserError: If a file of the run is damaged, or the disk is full.
    """
    write_whole(results.run.report_file, report_html(results).encode())
    return results.run.report_file


def report_html(results: RunResults) -> str:
    """Returns the report; it takes apart the knee of the front.

    The knee's kernels have times where `nas.runs.findings.kernel_times` has measured them.
    """
    charts = Charts()
    chosen = results.pick("knee") if results.front else None
    name = results.config.name
    body = join(
        tag("header", tag("h1", name), sections.summary(results), state(results)),
        one_answer_notice(results),
        navigation(),
        sections.headline(results, chosen),
        sections.front(results, chosen, charts.add),
        chosen_network(results, chosen),
        classes(results, chosen),
        sections.baselines(results),
        sections.history(results, charts.add),
        learning_curves(results, chosen, charts.add),
        predicted_latency(results, charts.add),
        archive_sizes(results),
        sections.importance(results, charts.add),
        what_was_learned(results, charts.add),
        sections.stopped_early(results),
        sections.infeasible(results),
        sections.provenance(results),
        tag("footer", "Written by hwnas ", sections.version_of(results), "."),
    )
    return document(f"{name}: search report", body, has_charts=charts.number > 0)


def document(title: str, body: Html, *, has_charts: bool) -> str:
    """Returns a page that asks the network for nothing."""
    assets = files("nas.report") / "assets"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{(assets / 'style.css').read_text('utf-8')}</style>",
            f"<script>{get_plotlyjs()}</script>" if has_charts else "",
            "</head><body>",
            body,
            f"<script>{(assets / 'script.js').read_text('utf-8')}</script>" if has_charts else "",
            "</body></html>\n",
        )
    )


def one_answer_notice(results: RunResults) -> Html:
    """Returns a notice where networks of the front answer all images alike."""
    front = [trial.evaluation for trial in results.front]
    text = one_answer(front, class_names(results.run))
    return tag("p", f"{text[0].upper()}{text[1:]}.", classes="notice") if text else Html("")


class Charts:
    """Turns figures into HTML, each with an id of its own."""

    def __init__(self) -> None:
        self.number = 0

    def add(self, figure: go.Figure) -> Html:
        self.number += 1
        content = plotly.io.to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            div_id=f"chart{self.number}",
            config={
                "displaylogo": False,
                "responsive": True,
                "modeBarButtonsToRemove": ["select2d", "lasso2d"],
                "toImageButtonOptions": {"format": "svg"},
            },
        )
        return tag("div", Html(content), classes="chart")


def state(results: RunResults) -> Html:
    """Returns a notice where the search is not over."""
    done, wanted = len(results.searched), results.config.search.trials
    predicted, estimated = results.predicted_front, results.estimated_front
    if done >= wanted and not (predicted or estimated):
        return Html("")
    if done >= wanted:
        text = (
            f"The latencies of {len(predicted)} networks of the front are only predicted "
            f"({PREDICTED})"
            if predicted
            else f"The archives of {len(estimated)} networks of the front are only estimated "
            f"({PREDICTED})"
        )
        text += "." if is_locked(results.run) else "; nas search --resume measures them."
    elif results.ending:
        text = f"The search ended after {done} of {wanted} architectures: {results.ending}."
    elif is_locked(results.run):
        text = f"The search is still running: {done} of {wanted} architectures are evaluated."
    else:
        text = (
            f"The search stopped after {done} of {wanted} architectures; nas search --resume "
            "goes on with it."
        )
    return tag("p", text, classes="notice")
