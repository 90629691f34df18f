"""Sections: what the report says, part by part; each returns its own HTML."""

from collections.abc import Callable

import plotly.graph_objects as go

from nas.problem.addresses import without_passwords
from nas.problem.answers import wilson
from nas.problem.formatting import in_words, interval_in_words, milliseconds, percent, shown
from nas.problem.metrics import METRICS, Metric
from nas.report import provenance as facts_of
from nas.report.classes import differences
from nas.report.drawing.axes import planes
from nas.report.drawing.charts import front_chart, history_chart, importance_chart
from nas.report.drawing.html import (
    Html,
    card,
    details,
    facts,
    join,
    scored,
    section,
    table,
    tag,
    value_of,
)
from nas.report.inherited import inherited
from nas.runs.certainty import num_images
from nas.runs.findings.baselines import (
    BaselineRow,
    baseline_rows,
    best_baseline,
    compared,
    infeasible_reasons,
)
from nas.runs.findings.importance import BEST_SHARE, gene_importance, trials_needed
from nas.runs.summary import read_summary
from nas.search.proposals.dominated_genes import offers_precisions, why_not
from nas.study.results import RunResults, TrialResult
from nas.study.stopping import count_rungs, in_one_line, why_unfinished
from search_spaces.space.staged import count_architectures

AddChart = Callable[[go.Figure], Html]

IN_CARDS = ("accuracy", "latency_ms", "macs", "size_bytes")
MOST_GENES = 15


def summary(results: RunResults) -> Html:
    """Returns one paragraph: what was searched, on which device, how much of it."""
    config = results.config
    aims = " and ".join(metric.title for metric in results.metrics)
    where = ""
    for trial in results.trials:
        if trial.evaluation.latency is not None and trial.evaluation.latency.conditions:
            found = trial.evaluation.latency.conditions
            where = (
                f" on {found.device} ({found.cpu}; {found.runtime} {found.runtime_version}, "
                f"{found.threads} thread{'s' if found.threads > 1 else ''})"
            )
            break
    rules = " and ".join(str(rule) for rule in config.constraints)
    size = in_words(count_architectures(config.space))
    counts = f"{len(results.searched)} of {size} architectures were evaluated"
    if results.baselines:
        counts += f", and {len(results.baselines)} published networks"
    stopped = f"; {len(results.stopped)} were stopped early" if results.stopped else ""
    useless = ""
    if offers_precisions(config.space):
        reason = why_not(config)
        useless = f" Useless precisions were not looked for: {reason}."
        if not reason:
            useless = (
                f" {results.num_replaced} useless precisions were replaced (slower and no smaller "
                "than a higher one)."
            )
    return tag(
        "p",
        f"Searched on {config.data.kind} for networks{f' with {rules}' if rules else ''} that are "
        f"best in {aims}{where}. {counts}; {len(results.feasible)} are feasible and "
        f"{len(results.front)} make up the front{stopped}.{useless}",
        classes="quiet",
    )


def headline(results: RunResults, chosen: TrialResult | None) -> Html:
    """Returns the chosen network's numbers beside those of the best baseline."""
    if chosen is None:
        return tag("p", f"{sentence(results.why_nothing)}.", classes="notice")
    rival = best_baseline(results)
    wanted = dict.fromkeys((*(metric.name for metric in results.metrics), *IN_CARDS))
    values = chosen.evaluation.values
    cards = [
        comparison_card(results, METRICS[name], chosen, rival) for name in wanted if name in values
    ]
    if rival is None:
        note = "There is no feasible baseline to compare with."
    elif rival == chosen:
        note = "It is itself a baseline: no searched network lies nearer to the ideal."
    else:
        note = (
            f"Compared with {rival.name}, the best feasible baseline by "
            f"{results.metrics[0].title}."
        )
    title = tag("h3", f"Knee of the front: {chosen.name}")
    return join(title, tag("div", *cards, classes="cards"), tag("p", note, classes="quiet"))


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def comparison_card(
    results: RunResults, metric: Metric, chosen: TrialResult, rival: TrialResult | None
) -> Html:
    value = chosen.evaluation.values[metric.name]
    notes = []
    if (interval := results.interval(chosen, metric)) is not None:
        notes.append(f"95 % interval {interval_in_words(interval)}")
    if metric.name == "latency_ms" and chosen.evaluation.latency is not None:
        notes.append(f"spread {milliseconds(chosen.evaluation.latency.spread_ms)}")
    if rival is not None and rival != chosen and metric.name in rival.evaluation.values:
        other = rival.evaluation.values[metric.name]
        notes.append(f"{compared(metric, value, other)} ({value_of(rival, metric)})")
    return card(metric.title, value_of(chosen, metric), *notes)


def front(results: RunResults, chosen: TrialResult | None, add: AddChart) -> Html:
    parts: list[object] = []
    if results.trials:
        parts.append(
            tag(
                "p",
                "Every point is an architecture; point at one to see its genes. Click a name in "
                "the legend to hide its points. Bars show the spread of the latency "
                "(interquartile range).",
                classes="quiet",
            )
        )
    for plane in planes(results.metrics):
        if len(results.metrics) > 2:
            parts.append(tag("h3", f"{plane.y.title} against {plane.x.title}"))
        figure = front_chart(results, plane, chosen)
        parts.append(add(figure) if figure.data else tag("p", "There is nothing to draw yet."))
    if len(results.metrics) > 2:
        parts.append(
            tag(
                "p",
                f"The front is that of all {len(results.metrics)} objectives together; each line "
                "bounds what is attained in the two that are drawn.",
                classes="quiet",
            )
        )
    if results.front:
        parts.append(differences(results))
        parts.append(front_table(results, chosen))
    parts += inherited(results)
    return section("front", *parts)


def front_table(results: RunResults, chosen: TrialResult | None) -> Html:
    tested = results.test_accuracies
    names = [metric.name for metric in results.metrics]
    names += [name for name in IN_CARDS if name not in names]
    metrics = [METRICS[name] for name in names]
    head = ["network", *(metric.title for metric in metrics)]
    if tested:
        head.append("test accuracy")
    rows = []
    for trial in results.front:
        cells: list[object] = [trial.name, *(scored(results, trial, m) for m in metrics)]
        if tested:
            cells.append(test_score(results, trial))
        rows.append(cells)
    marked = [row for row, trial in enumerate(results.front) if trial == chosen]
    grid = table(head, rows, numbers=range(1, len(head)), marked=marked)
    return details(f"The {len(results.front)} networks of the front", grid)


def test_score(results: RunResults, trial: TrialResult) -> str:
    """Returns a test accuracy with its interval; "" where there is none."""
    share, count = results.test_accuracies.get(trial.hash), num_images(results.run, "test")
    if share is None:
        return ""
    interval = f" ({interval_in_words(wilson(share, count))})" if count else ""
    return f"{percent(share)}{interval}"


def baselines(results: RunResults) -> Html:
    """Returns what became of each published network."""
    rows = baseline_rows(results)
    if not rows:
        text = "The search started from no published networks."
        return section("baselines", tag("p", text))
    metrics = results.metrics
    head = ["network", *(metric.title for metric in metrics), "front"]
    cells = [baseline_cells(results, row) for row in rows]
    beaten = sum(bool(row.beaten_by) for row in rows)
    on_front = sum(row.on_front for row in rows)
    broken = sum(row.baseline in results.infeasible for row in rows)
    stopped = sum(row.baseline in results.stopped for row in rows)
    text = f"Of {len(rows)} published networks, trained and measured like all others, {beaten} are"
    text += " beaten by one network of the front (nowhere worse, somewhere better) and"
    text += f" {on_front} are on the front themselves"
    text += f"; {broken} are infeasible" if broken else ""
    text += f"; {stopped} were stopped early." if stopped else "."
    grid = table(head, cells, numbers=range(1, len(metrics) + 1), wide=len(metrics) + 1)
    return section("baselines", tag("p", text), grid)


def baseline_cells(results: RunResults, row: BaselineRow) -> list[object]:
    values, metrics = row.baseline.evaluation.values, results.metrics
    cells: list[object] = [row.baseline.name, *(scored(results, row.baseline, m) for m in metrics)]
    if not row.baseline.evaluation.feasible:
        return [*cells, why_unfinished(row.baseline.evaluation)]
    if row.on_front:
        return [*cells, "is on the front"]
    best = row.beaten_by[0]
    gains = ", ".join(
        f"{m.title} {compared(m, best.evaluation.values[m.name], values[m.name])}" for m in metrics
    )
    more = f", and by {len(row.beaten_by) - 1} more" if len(row.beaten_by) > 1 else ""
    return [*cells, f"beaten by {best.name} ({gains}){more}"]


def history(results: RunResults, add: AddChart) -> Html:
    if not results.feasible:
        text = "There is no hypervolume before something feasible is found."
        return section("history", tag("p", text))
    corner = ", ".join(
        f"{metric.title} {shown(metric, value)}"
        + ("" if metric.name in results.config.reference else " (the worst feasible value found)")
        for metric, value in zip(results.metrics, results.reference, strict=True)
    )
    note = (
        "The hypervolume is the part of the objective space that the front dominates, up to a "
        f"reference point, here {corner}. It only grows; where it is flat, nothing better was "
        "found."
    )
    return section("history", tag("p", note), add(history_chart(results)))


def importance(results: RunResults, add: AddChart) -> Html:
    """Returns which kinds of genes, and which genes, were decisive."""
    found = [gene_importance(results.searched, metric) for metric in results.metrics]
    known = [item for item in found if item is not None and item.genes]
    best = f"{100 * BEST_SHARE:.0f} %"
    if not known:
        text = (
            f"Too few architectures for an estimate: it takes {trials_needed()} with a value, so "
            f"that the best {best} are at least 5."
        )
        return section("importance", tag("p", text))
    note = (
        f"How well a gene tells the best {best} of the architectures from all of them, for each "
        "objective by itself, as its share of the sum (PED-ANOVA, in Optuna). A gene that only "
        "some architectures have, such as a setting of one block, counts by how many of them have "
        "it. The bars sum all genes of a kind. It describes this run: a sampler that hardly ever "
        "tried a value says little about it."
    )
    lists = [
        details(
            f"Genes for {item.metric.title}, from {item.num_trials} architectures",
            table(
                ["gene", "importance"],
                [(gene, percent(value)) for gene, value in item.genes[:MOST_GENES]],
                numbers=[1],
            ),
        )
        for item in known
    ]
    chart = add(importance_chart(known))
    return section("importance", tag("p", note), chart, *lists)


def infeasible(results: RunResults) -> Html:
    rows = infeasible_reasons(results.trials)
    if not rows:
        text = "Every evaluated architecture is feasible."
        if results.stopped:
            text = "Every architecture that was not stopped early is feasible."
        return section("infeasible", tag("p", text))
    grid = table(
        ["why", "how often", "for example"],
        [(why, n, f"{trial.name}: {trial.evaluation.reason}") for why, n, trial in rows],
        numbers=[1],
        wide=2,
    )
    return section("infeasible", grid)


def provenance(results: RunResults) -> Html:
    config = results.config
    config_text = without_passwords(results.run.config_file.read_text("utf-8"))
    return section(
        "provenance",
        tag("h3", "Latency"),
        facts(facts_of.latency_facts(results)),
        *latency_model(results),
        tag("h3", "Accuracy"),
        facts(facts_of.training_facts(config.training)),
        tag("h3", "Data"),
        facts(
            facts_of.data_facts(facts_of.read_record(results.run.data_file, read_summary), config)
        ),
        tag("h3", "Search"),
        facts(facts_of.search_facts(results)),
        tag("h3", "Counts"),
        facts(facts_of.cost_facts()),
        tag("h3", "Machine and versions"),
        facts(facts_of.machine_facts(facts_of.read_record(results.run.path / "run.json"))),
        details("The whole configuration", tag("pre", config_text)),
    )


def latency_model(results: RunResults) -> list[Html]:
    """Returns what predicted latencies, where something did."""
    about = facts_of.read_record(results.run.latency_model_file)
    if not about:
        return []
    return [tag("h3", "Latency model"), facts(facts_of.model_facts(about, results.config))]


def version_of(results: RunResults) -> str:
    versions = facts_of.read_record(results.run.path / "run.json").get("versions", {})
    return str(versions.get("hwnas", ""))


def stopped_early(results: RunResults) -> Html:
    """Returns how many trainings reached each rung and ended there."""
    rungs = count_rungs(results)
    if not rungs:
        text = "No training was to be stopped early: all were to run to the end."
        return section("stopped", tag("p", text))
    note = (
        "A network that others had outrun at a rung was trained no further. Its accuracy is that "
        "of few epochs, so it has no part in the front, the hypervolume or a pick; in the chart "
        "of the front it is a ring."
    )
    grid = table(
        ["rung", "reached it", "stopped there", "epochs saved"],
        [(f"epoch {each.epoch}", each.reached, each.stopped, each.saved) for each in rungs],
        numbers=(1, 2, 3),
    )
    said = tag("p", f"{in_one_line(results).capitalize()}.")
    return section("stopped", said, grid, tag("p", note, classes="quiet"))
