"""Learned: how well the run could have been foretold, which genes matter, what to try next."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from nas.problem.formatting import percent, scaled, shown
from nas.report.drawing.charts import FRONT, INFEASIBLE, axis, shares_chart, styled
from nas.report.drawing.html import Html, card, details, join, section, table, tag
from nas.search.proposals.insight.effects import Effects, GeneEffect, effects
from nas.search.proposals.insight.hindsight import FEWEST, Hindsight, hindsight, is_learned
from nas.search.proposals.insight.learned_run import LEAST, LearnedRun, NothingLearnedError
from nas.search.proposals.insight.recalibration import ONE
from nas.search.proposals.insight.suggestions import Suggestion, in_words, suggested
from nas.study.results import RunResults
from search_spaces.graphs.errors import UserError

AddChart = Callable[[go.Figure], Html]
BEST = 10  # networks that are suggested
MOST_BARS, MOST_ROWS = 12, 15  # genes in the chart, and in a table
TWO = 0.9545  # of a normal distribution, within two deviations


def what_was_learned(results: RunResults, add: AddChart) -> Html:
    """Returns the section; it learns from the trials anew, whichever sampler proposed them."""
    try:
        learned = LearnedRun.of(results)
    except UserError as error:
        said = str(error)
        return section("learned", tag("p", f"{said[:1].upper()}{said[1:]}."))
    told = hindsight(results)
    note = (
        f"A surrogate, the Gaussian process over genes of sampler: surrogate, has learned from "
        f"the {learned.trials} finished trials of this run, whichever sampler proposed them."
    )
    return section(
        "learned",
        tag("p", note, classes="quiet"),
        tag("h3", "Told before they ran"),
        foretold(results, told, add),
        tag("h3", "Genes that matter"),
        what_matters(effects(learned), add),
        tag("h3", "Untried networks"),
        untried(learned, told),
    )


def foretold(results: RunResults, rows: Sequence[Hindsight], add: AddChart) -> Html:
    """Returns how good the surrogate would have been at trials from the ones before them."""
    if not any(is_learned(metric, results.config) for metric in results.metrics):
        return tag("p", "Graphs tell all objectives of this run, so none needs to be foretold.")
    if not rows:
        first = max(results.config.search.initial, LEAST)
        text = (
            f"Too few trials came after the first {first} to hold predictions against: it takes "
            f"{FEWEST} with a value."
        )
        return tag("p", text)
    note = (
        "Every trial is predicted by a surrogate that knows only trials that had ended before, "
        "with a doubt. The rank correlation (Spearman's) tells whether it puts networks into the "
        "right order: 1 is perfect, 0 a guess; beside it that of taking the value of the network "
        "tried before that has most genes alike. If its doubts are right, two thirds of trials "
        "are found within one of them; they are as wide as trials told before showed that they "
        "have to be. Later trials are harder to put in order, as a search that "
        "works proposes networks that are all good."
    )
    cards = [each for row in rows for each in quality_cards(row)]
    charts = [add(foretold_chart(row)) for row in rows]
    return join(tag("p", note, classes="quiet"), tag("div", *cards, classes="cards"), *charts)


def quality_cards(row: Hindsight) -> tuple[Html, Html]:
    title, count = row.metric.title, len(row.trials)
    nearest = f"nearest tried network: {correlation(row.nearest_rank_correlation)}"
    found = f"{100 * row.within(1):.0f} % / {100 * row.within(2):.0f} %"
    return (
        card(
            f"rank correlation, {title}",
            correlation(row.rank_correlation),
            nearest,
            f"{count} trials",
        ),
        card(
            f"within 1 / 2 doubts, {title}",
            found,
            f"{100 * ONE:.0f} % / {100 * TWO:.0f} % if doubts are right",
            f"{row.times:.2g} times what the regression doubts",
        ),
    )


def correlation(value: float | None) -> str:
    return "none: all values are the same" if value is None else f"{value:.2f}"


def foretold_chart(row: Hindsight) -> go.Figure:
    """Returns predictions with their doubts over what was found, and the diagonal."""
    metric = row.metric
    ends = [float(end(values)) for values in (row.found, row.told) for end in (min, max)]
    figure = go.Figure()
    figure.add_scatter(
        name="as found",
        x=[min(ends), max(ends)],
        y=[min(ends), max(ends)],
        mode="lines",
        line={"color": INFEASIBLE, "width": 1.5},
        hoverinfo="skip",
    )
    figure.add_scatter(
        name="trials",
        x=row.found.tolist(),
        y=row.told.tolist(),
        mode="markers",
        marker={"size": 7, "color": FRONT},
        error_y={
            "type": "data",
            "array": (row.high - row.told).tolist(),
            "arrayminus": (row.told - row.low).tolist(),
            "color": FRONT,
            "thickness": 1,
            "width": 0,
        },
        text=[hover(row, at) for at in range(len(row.trials))],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(**titled(axis(metric), "found"))
    figure.update_yaxes(**titled(axis(metric), "told before"))
    return styled(figure, height=400)


def titled(axis: dict[str, object], what: str) -> dict[str, object]:
    title = axis["title"]
    assert isinstance(title, dict)
    return axis | {"title": title | {"text": f"{title['text']}, {what}"}}


def hover(row: Hindsight, at: int) -> str:
    metric = row.metric
    told, low, high, found = (
        shown(metric, float(values[at])) for values in (row.told, row.low, row.high, row.found)
    )
    return (
        f"<b>trial {row.trials[at]}</b><br>told {told} ({low} to {high})<br>found {found}, "
        f"{row.distances[at]:.1f} doubts off"
    )


def what_matters(found: Sequence[Effects], add: AddChart) -> Html:
    """Returns which genes, and which pairs of genes, the surrogate believes to matter."""
    known = [each for each in found if each.genes]
    if not found:
        return tag("p", "Graphs tell all objectives of this run.")
    if not known:
        return tag("p", "It believes that no gene by itself makes a difference.")
    note = (
        "What the surrogate believes of random architectures of the space varies; a bar is the "
        "share of that variance that a gene explains by itself. A setting that only some "
        "architectures have, as of one block, counts among those that have it, by their share of "
        "all. These are beliefs, as good as the order above; the section before counts trials."
    )
    lists = [
        details(
            f"Genes for {each.metric.title}, and what each value is believed to give",
            genes_table(each),
        )
        for each in known
    ]
    return join(
        tag("p", note, classes="quiet"),
        add(effects_chart(known)),
        *(tag("p", shares_in_words(each)) for each in known),
        *lists,
        *(pairs_table(each) for each in known if each.pairs),
    )


def shares_in_words(each: Effects) -> str:
    single = min(1.0, sum(gene.share for gene in each.genes))
    pairs = min(1.0 - single, sum(pair.share for pair in each.pairs))
    return (
        f"For {each.metric.title} single genes explain {100 * single:.0f} % and pairs of them "
        f"{100 * pairs:.0f} % more, told by {each.samples} random architectures."
    )


def effects_chart(found: Sequence[Effects]) -> go.Figure:
    """Returns a bar for each gene and objective, the largest first."""
    most: dict[str, float] = {}
    for each in found:
        for gene in each.genes:
            most[gene.gene] = max(most.get(gene.gene, 0.0), gene.share)
    names = sorted(most, key=lambda name: -most[name])[:MOST_BARS]
    shares = [(each.metric, {gene.gene: gene.share for gene in each.genes}) for each in found]
    return shares_chart(names, shares, "share of the variance")


def genes_table(each: Effects) -> Html:
    rows = [
        (gene.gene, percent(gene.share), values_in_words(each, gene))
        for gene in each.genes[:MOST_ROWS]
    ]
    return table(["gene", "share", "values, the best first"], rows, numbers=[1], wide=2)


def values_in_words(each: Effects, gene: GeneEffect) -> str:
    return ", ".join(f"{v.value}: {shown(each.metric, v.mean)}" for v in gene.values)


def pairs_table(each: Effects) -> Html:
    rows = [(" with ".join(pair.genes), percent(pair.share)) for pair in each.pairs[:MOST_ROWS]]
    return details(
        f"Pairs of genes for {each.metric.title}: what they give together beyond each by itself",
        table(["genes", "share"], rows, numbers=[1]),
    )


def untried(learned: LearnedRun, told: Sequence[Hindsight]) -> Html:
    """Returns the best networks that were not tried, as the surrogate believes."""
    try:
        found = suggested(learned, BEST, told)
    except NothingLearnedError as error:
        said = str(error)
        return tag("p", f"{said[:1].upper()}{said[1:]}.")
    note = (
        "Chosen together, as the next trials of a search would be. ± is one doubt, right "
        "as often as the figures above tell (of a cost it is a share). What a graph "
        "tells is exact. nas suggest writes them as files that nas search --enqueue takes."
    )
    metrics = learned.results.metrics
    costs = [n for n in ("macs", "params") if n not in {metric.name for metric in metrics}]
    head = [*(metric.title for metric in metrics), *costs, "joins the front", "nearest"]
    rows = [untried_row(each, costs) for each in found]
    grid = table([*head, "differs from it in"], rows, numbers=range(len(head) - 1), wide=len(head))
    return join(tag("p", note, classes="quiet"), grid)


def untried_row(each: Suggestion, costs: Sequence[str]) -> list[object]:
    counts = {"macs": each.macs, "params": each.params}
    return [
        *(belief.text for belief in each.beliefs),
        *(scaled(counts[name]) for name in costs),
        f"{100 * each.joins:.0f} %",
        each.nearest.name,
        in_words(each.changes),
    ]
