"""A pool is searched by every sampler, and only what is in it is evaluated."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.search_efficiency.pool import POOLS, Pool, as_json, in_common, read_pool
from benchmarks.search_efficiency.replay import METHODS, WHOLE, evaluated
from nas.problem.records import SAMPLERS
from nas.search.run import run_search
from nas.study.results import RunResults
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import restore, sample
from tests.nas.parts.tiny import tiny
from tests.nas.search.proposals.test_evolution import Towers, worth

FITTING = [method for method in METHODS if method not in WHOLE]


@pytest.fixture(scope="module")
def pool() -> Pool:
    """60 of the 2,752 ways of Towers, whose genes are conditional."""
    found = {a.genes: a for a in (sample(Towers(), Random(seed)) for seed in range(60))}
    values = [(worth(a.graph), count_macs(a.graph)) for a in found.values()]
    return Pool("towers", Towers(), tuple(map(dict, found)), np.array(values, dtype=float))


def test_every_sampler_of_the_search_is_replayed() -> None:
    assert set(SAMPLERS) <= set(FITTING)


@pytest.mark.parametrize("method", FITTING)
def test_every_method_evaluates_rows_of_the_pool_once_each_and_again_with_the_same_seed(
    pool: Pool, method: str
) -> None:
    rows = evaluated(pool, method, 0, 30)

    assert len(rows) == len(set(rows)) == 30
    assert rows == evaluated(pool, method, 0, 30)
    assert rows != evaluated(pool, method, 1, 30)


def test_a_pool_is_used_up_in_the_end(pool: Pool) -> None:
    assert sorted(evaluated(pool, "evolution", 0, 1000)) == list(range(len(pool.genes)))


def test_the_nearest_is_that_with_most_genes_in_common_that_is_not_taken(pool: Pool) -> None:
    keys = list(pool.rows)
    wanted = dict(sample(Towers(), Random(1234)).genes)
    order: list[int] = []
    for _ in pool.genes:
        order.append(pool.nearest(wanted, frozenset(keys[row] for row in order)))

    shares = [in_common(wanted, pool.genes[row]) for row in order]
    assert sorted(order) == list(range(len(pool.genes)))
    assert shares == sorted(shares, reverse=True)
    assert pool.nearest(pool.genes[17], frozenset()) == 17


def test_methods_that_need_a_whole_space_say_so(pool: Pool) -> None:
    with pytest.raises(UserError, match="archive needs a table of the whole space; towers is a"):
        evaluated(pool, "archive", 0, 10)


def test_a_run_becomes_a_pool_and_is_read_back(tmp_path: Path) -> None:
    search = {"trials": 5, "sampler": "random"}
    file = tiny(objectives=["accuracy", "macs", "size_bytes"], search=search)
    results = run_search(file, tmp_path)
    path = tmp_path / "pool.json"
    path.write_text(as_json(results.run.path, str(results.run.config_file)))

    read = read_pool(path, "macs")

    assert read.name == "pool macs"
    trials = {trial.hash: trial for trial in results.trials}
    assert read.rows.keys() == trials.keys()
    for key, row in read.rows.items():
        assert read.genes[row] == dict(trials[key].genes)
        values = trials[key].evaluation.values
        assert tuple(read.values[row]) == pytest.approx(
            (values["accuracy"], values["macs"]), abs=1e-6
        )
    with pytest.raises(UserError, match="no cost 'joules'; it has macs, size_bytes"):
        read_pool(path, "joules")


def test_a_run_is_put_beside_the_pool_of_another_and_what_both_have_stays(tmp_path: Path) -> None:
    def run(seed: int, **training: int) -> RunResults:
        file = tiny(
            objectives=["accuracy", "macs", "size_bytes"],
            search={"trials": 5, "sampler": "random", "seed": seed},
            **({"training": training} if training else {}),
        )
        return run_search(file, tmp_path / f"{seed} {training}")

    one, other = run(0), run(1)
    first, path = tmp_path / "first.json", tmp_path / "pool.json"
    first.write_text(as_json(one.run.path, str(one.run.config_file)))
    path.write_text(as_json(other.run.path, str(one.run.config_file), first))

    before, read = read_pool(first, "macs"), read_pool(path, "macs")

    assert [dict(genes) for genes in read.genes[:5]] == [dict(genes) for genes in before.genes]
    assert read.values[:5].tolist() == before.values.tolist()
    hashes = {trial.hash for trial in (*one.trials, *other.trials)}
    assert read.rows.keys() == hashes
    assert len(hashes) > 5
    longer = run(2, epochs=2)
    with pytest.raises(UserError, match="has epochs 1, the run has 2"):
        as_json(longer.run.path, str(one.run.config_file), first)


@pytest.mark.parametrize("name", POOLS)
def test_the_pools_on_file_are_architectures_of_their_space_with_the_costs_that_graphs_have(
    name: str,
) -> None:
    file, cost = POOLS[name]
    pool = read_pool(file, cost)

    assert len(pool.rows) == len(pool.genes) >= 50
    assert json.loads(file.read_text())["space"] == "examples/digits_mixed.yaml"
    assert ((pool.values[:, 0] > 0) & (pool.values[:, 0] <= 1)).all()
    for row in range(0, len(pool.genes), 25):
        graph = restore(pool.space, pool.genes[row]).graph
        if cost == "macs":
            assert pool.values[row, 1] == count_macs(graph)
