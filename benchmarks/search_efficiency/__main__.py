"""Evaluations that samplers need on exhaustive tables, until little hypervolume is missing.

    python -m benchmarks.search_efficiency --data ../shared/data --seeds 10
    python -m benchmarks.search_efficiency --data DIR --table a.parquet --accuracy acc --cost ms
    python -m benchmarks.search_efficiency --data DIR --problems "nb201 c100 eyeriss" \
        --methods surrogate --learn-from "nb201 c10 raspi4" [--shuffled]
    python -m benchmarks.search_efficiency --problems "digits_mixed macs" --budget 200

Regret is the share of the hypervolume that is missing, with the logarithm of the cost, from
the median accuracy and the largest cost. Costs are told as measured latencies: nothing is free.
With ``--kept FOLDER`` what a seed evaluated is kept there, and not evaluated again; the JSON has
each seed.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table, write_json
from benchmarks.search_efficiency.kept import Evaluated, kept
from benchmarks.search_efficiency.lessons import Lesson
from benchmarks.search_efficiency.outcomes import Values
from benchmarks.search_efficiency.peers import PEERS
from benchmarks.search_efficiency.pool import POOLS, Pool, read_pool
from benchmarks.search_efficiency.replay import METHODS, WHOLE, evaluated, evaluations_to
from benchmarks.search_efficiency.table import PROBLEMS, Problem, Table, read_table

SHARES = (0.05, 0.01)
MARKS = (50, 100, 150, 200, 300, 500, 800)  # evaluations at which it is told what is missing


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms methods search.

    Attributes:
        budget: Evaluations of each seed.
        workers: Trials that are under way whenever one is asked for.
        kept: Folder of what was evaluated, if it is kept.
    """

    seeds: range
    budget: int
    workers: int = 1
    lesson: Lesson | None = None
    kept: Path | None = None

    @property
    def name(self) -> str:
        name = f"{self.budget} by {self.workers}"
        if self.lesson is not None:
            name += f" after {self.lesson.evaluations} of {self.lesson.name}"
        return name

    def evaluate(self, table: Table | Pool, method: str, seed: int) -> list[int]:
        earlier = () if self.lesson is None else (self.lesson.taught(seed),)
        return evaluated(table, method, seed, self.budget, self.workers, earlier)


def compare(table: Table | Pool, methods: Sequence[str], terms: Terms) -> list[dict[str, Any]]:
    """A row for each method: evaluations to each regret, quartiles over seeds."""
    fitting = [m for m in methods if m not in WHOLE or not isinstance(table, Pool)]
    return [measure(table, method, terms) for method in fitting]


def measure(table: Table | Pool, method: str, terms: Terms) -> dict[str, Any]:
    found = [
        kept(
            terms.kept,
            f"{table.name} {method} {terms.name} seed {seed}",
            partial(terms.evaluate, table, method, seed),
        )
        for seed in terms.seeds
    ]
    return {
        "problem": table.name,
        "method": method,
        "seeds": len(terms.seeds),
        **({"workers": terms.workers} if terms.workers > 1 else {}),
        **({} if terms.lesson is None else {"learning from": terms.lesson.name}),
        **summary(table, found, terms),
    }


def summary(table: Table | Pool, found: Sequence[Evaluated], terms: Terms) -> dict[str, Any]:
    """Returns what the seeds of a method come to."""
    regrets = [table.regrets(each.rows) for each in found]
    row: dict[str, Any] = {}
    for share in SHARES:
        reached = [evaluations_to(each, share) for each in regrets]
        for name, part in (("", 0.5), (" low", 0.25), (" high", 0.75)):
            row[f"{share:.0%}{name}"] = as_text(order_statistic(reached, part), terms.budget)
        row[f"{share:.0%} of each"] = [as_text(each, terms.budget) for each in reached]
    marks = [mark for mark in MARKS if mark <= terms.budget]
    row["missing"] = [[mark, median_after(mark, regrets)] for mark in marks]
    return row | {"s a seed": float(np.mean([each.seconds for each in found]))}


def median_after(evaluations: int, regrets: Sequence[Values]) -> float:
    """Returns which share is missing then; what had ended before stays as it was."""
    return float(np.median([each[:evaluations][-1] for each in regrets]))


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Returns what of a row is printed."""
    return {name: value for name, value in row.items() if not isinstance(value, list)}


def order_statistic(found: Sequence[float], part: float) -> float:
    """Returns a quantile; never between a number and infinity."""
    return float(np.quantile(found, part, method="higher"))


def as_text(evaluations: float, budget: int) -> float | str:
    return evaluations if np.isfinite(evaluations) else f">{budget}"


def subjects(given: argparse.Namespace) -> Iterator[Table | Pool]:
    """Yields the tables and pools that are asked for; says which file of them is missing."""
    problems = [p for p in PROBLEMS if p.name in given.problems]
    if given.table:
        problems = [Problem(Path(given.table).stem, given.table, given.accuracy, given.cost)]
    for problem in problems:
        if given.data is None or not (given.data / problem.accuracies).exists():
            print(f"skipped {problem.name}: give the folder of {problem.accuracies} by --data")
            continue
        yield read_table(given.data, problem)
    for name, (file, cost) in POOLS.items():
        if name in given.problems and not given.table:
            yield read_pool(file, cost)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the tables")
    parser.add_argument("--problems", nargs="+", default=[*(p.name for p in PROBLEMS), *POOLS])
    parser.add_argument("--table", help="a table of one's own in that folder")
    parser.add_argument("--accuracy", help="its column of accuracies, in per cent")
    parser.add_argument("--cost", help="its column of costs")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *PEERS), default=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--budget", type=int, default=500, help="evaluations")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--learn-from", help="a problem that was searched before")
    parser.add_argument("--earlier", type=int, default=100, help="evaluations of that search")
    parser.add_argument("--shuffled", action="store_true", help="its values mislead")
    parser.add_argument("--kept", type=Path, help="folder of what seeds evaluated")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    rows, lesson = [], None
    if given.learn_from:
        (before,) = (problem for problem in PROBLEMS if problem.name == given.learn_from)
        lesson = Lesson(read_table(given.data, before), given.earlier, given.shuffled)
    terms = Terms(seeds, given.budget, given.workers, lesson, given.kept)
    for table in subjects(given):
        found = compare(table, given.methods, terms)
        if found:
            print_table(f"{table.name}: evaluations to a regret", [told(row) for row in found])
        rows += found
    write_json(given.json, rows, {"seeds": given.seeds, "budget": given.budget})


if __name__ == "__main__":
    main()
