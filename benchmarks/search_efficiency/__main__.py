"""Evaluations that samplers need on exhaustive tables, until little hypervolume is missing.

    python -m benchmarks.search_efficiency --data ../shared/data --seeds 10
    python -m benchmarks.search_efficiency --data DIR --table a.parquet --accuracy acc --cost ms
    python -m benchmarks.search_efficiency --data DIR --problems "nb201 c100 eyeriss" \
        --methods surrogate --learn-from "nb201 c10 raspi4" [--shuffled]
    python -m benchmarks.search_efficiency --problems "digits_mixed macs" --budget 200

Regret is the share of the hypervolume that is missing, with the logarithm of the cost, from
the median accuracy and the largest cost. Costs are told as measured latencies: nothing is free.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.report import print_table, write_json
from benchmarks.search_efficiency.lessons import Lesson
from benchmarks.search_efficiency.peers import PEERS
from benchmarks.search_efficiency.pool import POOLS, Pool, read_pool
from benchmarks.search_efficiency.replay import METHODS, WHOLE, evaluated, evaluations_to
from benchmarks.search_efficiency.table import PROBLEMS, Problem, Table, read_table

SHARES = (0.05, 0.01)


def compare(
    table: Table | Pool,
    methods: Sequence[str],
    seeds: range,
    budget: int,
    workers: int,
    lesson: Lesson | None = None,
) -> list[dict[str, Any]]:
    """A row for each method: evaluations to each regret, quartiles over seeds."""
    fitting = [m for m in methods if m not in WHOLE or not isinstance(table, Pool)]
    return [measure(table, method, seeds, budget, workers, lesson) for method in fitting]


def measure(
    table: Table | Pool,
    method: str,
    seeds: range,
    budget: int,
    workers: int,
    lesson: Lesson | None = None,
) -> dict[str, Any]:
    started = perf_counter()
    earlier = [() if lesson is None else (lesson.taught(seed),) for seed in seeds]
    regrets = [
        table.regrets(evaluated(table, method, seed, budget, workers, runs))
        for seed, runs in zip(seeds, earlier, strict=True)
    ]
    row: dict[str, Any] = {"problem": table.name, "method": method, "seeds": len(seeds)}
    row |= {} if lesson is None else {"learning from": lesson.name}
    for share in SHARES:
        found = [evaluations_to(each, share) for each in regrets]
        for name, part in (("", 0.5), (" low", 0.25), (" high", 0.75)):
            row[f"{share:.0%}{name}"] = as_text(order_statistic(found, part), budget)
    return row | {"s a seed": (perf_counter() - started) / len(seeds)}


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
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    rows, lesson = [], None
    if given.learn_from:
        (before,) = (problem for problem in PROBLEMS if problem.name == given.learn_from)
        lesson = Lesson(read_table(given.data, before), given.earlier, given.shuffled)
    for table in subjects(given):
        found = compare(table, given.methods, seeds, given.budget, given.workers, lesson)
        if found:
            print_table(f"{table.name}: evaluations to a regret", found)
        rows += found
    write_json(given.json, rows, {"seeds": given.seeds, "budget": given.budget})


if __name__ == "__main__":
    main()
