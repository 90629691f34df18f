"""Tables are searched as spaces are, and their regrets are those that brute force finds."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_efficiency.__main__ import Terms, measure
from benchmarks.search_efficiency.replay import METHODS, evaluated, evaluations_to
from benchmarks.search_efficiency.table import Table
from nas.problem.pareto import hypervolume
from search_spaces.space.space import restore


@pytest.fixture(scope="module")
def table() -> Table:
    """81 networks; each gene adds its own to accuracy and cost, the first two together more."""
    genes = list(product("012", repeat=4))
    codes = np.array(genes, dtype=float)
    accuracy = 0.5 + (codes @ [0.04, 0.03, 0.02, 0.01]) + 0.01 * codes[:, 0] * codes[:, 1]
    cost = 1 + codes @ [1.0, 2.0, 3.0, 1.0]
    return Table("sums", tuple(genes), np.column_stack([accuracy, cost]))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_evaluates_rows_of_the_table_once_each_and_again_with_the_same_seed(
    table: Table, method: str
) -> None:
    rows = evaluated(table, method, 0, 30)

    assert len(rows) == len(set(rows)) == 30
    assert rows == evaluated(table, method, 0, 30)
    assert rows != evaluated(table, method, 1, 30)


def test_stand_ins_are_told_apart(table: Table) -> None:
    names = [choice.name for choice in table.choices]
    found = [restore(table, dict(zip(names, genes, strict=True))) for genes in table.genes]

    assert [table.row_of(architecture.graph) for architecture in found] == list(range(81))


def test_regrets_are_the_missing_share_of_the_hypervolume(table: Table) -> None:
    rows = np.random.default_rng(0).permutation(81).tolist()

    regrets = table.regrets(rows)

    points = np.column_stack([table.values[:, 0], np.log(table.values[:, 1])])
    corner = np.median(points[:, 0]), points[:, 1].max()
    whole = hypervolume(points, corner, table.metrics)
    for count in (1, 10, 40, 81):
        part = hypervolume(points[rows[:count]], corner, table.metrics)
        assert regrets[count - 1] == pytest.approx(1 - part / whole, abs=1e-12)
    assert regrets[-1] == pytest.approx(0, abs=1e-12)


def test_evaluations_are_counted_to_the_first_that_is_good_enough() -> None:
    regrets = np.array([1.0, 0.4, 0.05, 0.01])

    assert [evaluations_to(regrets, share) for share in (0.5, 0.05, 0.001)] == [2, 3, np.inf]


def test_what_is_kept_is_not_evaluated_again_and_says_the_same(
    table: Table, tmp_path: Path
) -> None:
    def row(seeds: range, kept: Path | None) -> dict[str, object]:
        found = measure(table, "random", Terms(seeds, 81, kept=kept))
        return {name: value for name, value in found.items() if name != "s a seed"}

    fresh = row(range(3), None)

    row(range(2), tmp_path)  # ended after two of three
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert row(range(3), tmp_path) == fresh
    assert len(files) == 2
    assert all(file.stat().st_mtime_ns == before for file, before in files.items())
    assert fresh["5%"] == sorted(fresh["5% of each"])[1]  # type: ignore[call-overload]
