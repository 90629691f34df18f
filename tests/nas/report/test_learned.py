"""The report tells what a surrogate learned from a run, and draws it, for small runs too."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.drawing.html import Html
from nas.report.learned import effects_chart, foretold_chart, what_was_learned
from nas.report.page import Charts, report_html
from nas.runs.evaluation import Evaluation
from nas.search.proposals.insight.effects import effects
from nas.search.proposals.insight.hindsight import hindsight
from nas.search.proposals.insight.learned_run import LearnedRun
from nas.search.proposals.insight.suggestions import suggested
from nas.study.results import RunResults
from tests.nas.parts.browser import drawn, needs_browser
from tests.nas.parts.runs import make_run, run_file
from tests.nas.report.test_page import Text


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return make_run(tmp_path_factory.mktemp("runs"), trials=36, file=run_file(trials=36))


@pytest.fixture(scope="module")
def section(results: RunResults) -> Html:
    return what_was_learned(results, Charts().add)


def test_the_section_tells_how_good_predictions_were(section: Html, results: RunResults) -> None:
    text = Text(section).text

    assert "has learned from the 36 finished trials of this run" in text
    rows = hindsight(results)
    assert [row.metric.name for row in rows] == ["accuracy", "latency_ms"]
    for row in rows:
        assert row.rank_correlation is not None
        card = f"rank correlation, {row.metric.title} {row.rank_correlation:.2f} nearest tried"
        assert card in text
        shares = f"{100 * row.within(1):.0f} % / {100 * row.within(2):.0f} %"
        assert f"within 1 / 2 doubts, {row.metric.title} {shares} 68 % / 95 % if" in text
        assert f"if doubts are right {row.times:.2g} times what the regression doubts" in text
    assert section.count('class="chart"') == 3  # two objectives, and the genes


def test_the_section_names_genes_and_untried_networks(section: Html, results: RunResults) -> None:
    text, learned = Text(section).text, LearnedRun.of(results)

    for each in effects(learned):
        best = each.genes[0]
        assert f"For {each.metric.title} single genes explain " in text
        assert f"{best.gene} {100 * best.share:.2f} %" in text
    for suggestion in suggested(learned, 10, hindsight(results)):
        assert " ".join(belief.text for belief in suggestion.beliefs) in text


def test_a_chart_holds_predictions_with_their_doubts_against_what_was_found(
    results: RunResults,
) -> None:
    row = hindsight(results)[1]

    diagonal, trials = foretold_chart(row).data

    assert list(trials.x) == row.found.tolist()
    assert list(trials.y) == row.told.tolist()
    assert list(trials.error_y.array) == (row.high - row.told).tolist()
    assert list(diagonal.x) == list(diagonal.y)


def test_the_bars_are_the_shares_of_the_genes(results: RunResults) -> None:
    found = effects(LearnedRun.of(results))

    bars = effects_chart(found).data

    assert [bar.name for bar in bars] == ["for validation accuracy", "for latency"]
    for bar, each in zip(bars, found, strict=True):
        shares = {gene.gene: gene.share for gene in each.genes}
        assert list(bar.x) == [shares.get(name, 0.0) for name in bar.y]


def test_a_run_that_teaches_nothing_says_so(tmp_path: Path) -> None:
    few = make_run(tmp_path, trials=3, file=run_file("few"))
    text = Text(what_was_learned(few, Charts().add)).text
    assert (
        "Too little to learn from: it takes 10 finished trials of the space, there are 3." in text
    )

    begun = make_run(tmp_path, trials=12, file=run_file("begun"))
    text = Text(what_was_learned(begun, Charts().add)).text
    assert "Too few trials came after the first 20 to hold predictions against" in text


def test_objectives_that_graphs_tell_are_not_foretold(tmp_path: Path) -> None:
    free = make_run(tmp_path, trials=30, file=run_file(objectives=("macs", "params"), trials=30))

    text = Text(what_was_learned(free, Charts().add)).text

    assert "Graphs tell all objectives of this run" in text


def test_networks_that_do_not_learn_leave_a_sentence(tmp_path: Path) -> None:
    def same(number: int, evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, values=dict(evaluation.values) | {"accuracy": 0.1})

    results = make_run(tmp_path, trials=12, file=run_file(), edit=same)

    text = Text(what_was_learned(results, Charts().add)).text

    assert "12 finished trials teach nothing of others: accuracy is the same, or unknown" in text


@needs_browser
@pytest.mark.sweep(2)
@pytest.mark.parametrize("width", [400, 1100])
def test_a_browser_draws_the_section_without_an_error(
    results: RunResults, tmp_path: Path, width: int
) -> None:
    page = report_html(results)

    expression = (
        "[problems, document.querySelectorAll('#learned .main-svg').length > 2, "
        "document.documentElement.scrollWidth <= innerWidth, "
        "[...document.querySelectorAll('#learned .chart')].every(e => e.offsetHeight > 200)]"
    )
    assert drawn(page, width, expression, tmp_path) == [[], True, True, True]
