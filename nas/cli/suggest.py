"""``nas suggest``: the best networks that a run has not tried, as what it has tried suggests."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.going_on import search_line
from nas.cli.terminal.options import RunPath, within
from nas.cli.terminal.style import console, table
from nas.problem.formatting import scaled

if TYPE_CHECKING:
    from nas.search.proposals.insight.hindsight import Hindsight
    from nas.search.proposals.insight.suggestions import Suggestion
    from nas.study.results import RunResults


def suggest_command(
    run: RunPath,
    count: Annotated[int, typer.Option(help="How many at most.", callback=within(1, 200))] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write them, genes and all, as a table.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write each into this folder as a file, for nas search --enqueue."),
    ] = None,
) -> None:
    """Suggest networks that a run has not tried, with what they are expected to be."""
    from nas.search.proposals.insight.hindsight import hindsight
    from nas.search.proposals.insight.learned_run import LearnedRun, NothingLearnedError
    from nas.search.proposals.insight.suggestions import suggested, suggestions_json
    from nas.study.results import load_results
    from search_spaces.graphs.errors import UserError

    results = load_results(run)
    try:
        learned = LearnedRun.of(results)
        told = hindsight(results)
        found = suggested(learned, count, told)
    except NothingLearnedError as error:
        raise UserError(f"{run}: {error}") from None
    if csv_file is not None:
        write_csv(found, csv_file)
    if save is not None:
        write_architectures(found, save)
    if as_json:
        typer.echo(json.dumps(suggestions_json(results, found, learned.trials), indent=1))
        return
    print_suggestions(results, found)
    less = "" if len(found) == count else f"; no more than {len(found)} were found that may gain"
    console.print(f"learned from {learned.trials} trials, of which none is among them{less}")
    console.print(about_doubts(told))
    if csv_file is not None:
        console.print(f"{len(found)} networks: {csv_file}")
    folder = save or Path("suggested")
    runs = results.run.path.parent
    where = {} if runs == Path("runs") else {"--runs": runs}
    again = search_line(results.run.config_file, where | {"--enqueue": [folder]})
    first = "" if save else f"nas suggest {run} --save {folder}, then "
    console.print(f"to evaluate them: {first}{again}")


def about_doubts(told: "Sequence[Hindsight]") -> str:
    """Returns what ± means, and how often it was right at trials told by those before them."""
    said = "± is one doubt: two thirds should be found within it"
    shares = [
        f"{100 * row.within(1):.0f} % of {len(row.trials)} trials for {row.metric.title}"
        for row in told
    ]
    wider = [f"{row.times:.2g} times for {row.metric.title}" for row in told if row.times > 1]
    if shares:
        said += f"; so far, told before they ran, were {' and '.join(shares)}"
    return f"{said}; so they are widened {' and '.join(wider)}" if wider else said


def print_suggestions(results: "RunResults", found: "Sequence[Suggestion]") -> None:
    from nas.search.proposals.insight.suggestions import in_words

    names = [each.name for each in results.metrics]
    costs = [name for name in ("macs", "params") if name not in names]
    rules = ("?>keeps bounds",) if results.config.constraints else ()
    heads = (*(f">{name}" for name in names), *(f"?>{name}" for name in costs))
    made = table(
        *(">", *heads, ">joins the front", *rules, "nearest", "differs in"),
        title=f"suggestions for {results.run.path}",
    )
    for place, each in enumerate(found, start=1):
        cells = [belief.text for belief in each.beliefs]
        cells += [scaled(getattr(each, name)) for name in costs]
        cells += [f"{100 * each.joins:.0f} %"]
        cells += [f"{100 * each.keeps:.0f} %"] * len(rules)
        made.add_row(str(place), *cells, each.nearest.name, in_words(each.changes))
    console.print(made)


def write_csv(found: "Sequence[Suggestion]", path: Path) -> None:
    from nas.search.proposals.insight.suggestions import flat_row

    rows = [flat_row(each) for each in found]
    names = dict.fromkeys(name for row in rows for name in row)
    genes = [name for name in names if name.startswith("gene.")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in names if name not in genes] + genes)
        writer.writeheader()
        writer.writerows(rows)


def write_architectures(found: "Sequence[Suggestion]", folder: Path) -> None:
    """Writes a file for each, named so that they are read best first."""
    from search_spaces.space.architecture import save_architecture

    folder.mkdir(parents=True, exist_ok=True)
    for place, each in enumerate(found, start=1):
        save_architecture(each.architecture, folder / f"{place:03d}_{each.hash}.json")
