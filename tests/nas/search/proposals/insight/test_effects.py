"""Genes and pairs explain what arithmetic says that they do, conditional ones included."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.problem.metrics import METRICS
from nas.search.proposals.insight.effects import Effects, effects_of, explained
from nas.search.proposals.learning.gene_codes import ABSENT, GeneCodes

ACCURACY, LATENCY = METRICS["accuracy"], METRICS["latency_ms"]


def coded(**values: tuple[int | str, ...]) -> GeneCodes:
    sizes = [len(each) for each in values.values()]
    return GeneCodes(values, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def every_one(genes: GeneCodes, times: int = 1) -> NDArray[np.int64]:
    rows = list(product(*(range(size) for size in genes.sizes)))
    return np.array(rows * times, dtype=np.int64)


def shares(found: Effects) -> dict[str, float]:
    return {each.gene: each.share for each in found.genes}


def test_single_genes_explain_their_part_of_a_sum_and_no_pair_anything() -> None:
    genes = coded(width=(8, 16, 24), kernel=(3, 5), idle=(0, 1))
    rows = every_one(genes, times=20)
    accuracy = np.array([0.0, 1.0, 5.0])[rows[:, 0]] + np.array([0.0, 2.0])[rows[:, 1]]

    found = effects_of(ACCURACY, genes, rows, -accuracy)

    variances = {"width": 14 / 3, "kernel": 1.0}  # of 0, 1, 5 and of 0, 2
    wanted = {name: each / sum(variances.values()) for name, each in variances.items()}
    assert shares(found) == pytest.approx(wanted, abs=0.01)
    assert found.pairs == ()
    assert [(v.value, v.mean) for v in found.genes[0].values] == [(24, 6.0), (16, 2.0), (8, 1.0)]


def test_a_pair_explains_what_is_no_sum() -> None:
    genes = coded(one=(0, 1), other=(0, 1), third=(0, 1))
    rows = every_one(genes, times=50)
    alike = (rows[:, 0] == rows[:, 1]).astype(float)  # neither says anything by itself
    values = 3.0 * alike + 2.0 * rows[:, 2]

    found = effects_of(ACCURACY, genes, rows, values)

    assert shares(found) == pytest.approx({"third": 4 / 13}, abs=0.01)
    ((pair, share),) = ((each.genes, each.share) for each in found.pairs)
    assert pair == ("one", "other")
    assert share == pytest.approx(9 / 13, abs=0.01)


def test_a_conditional_gene_counts_by_the_share_that_has_it_and_its_parent_for_the_rest() -> None:
    genes = coded(block=("plain", "fire"), squeeze=(1, 2))
    rows = np.array([[0, ABSENT], [0, ABSENT], [1, 0], [1, 1]] * 50, dtype=np.int64)
    values = np.array([0.0, 0.0, 9.0, 11.0] * 50)  # a block is worth 10, its setting 1 up or down

    found = effects_of(ACCURACY, genes, rows, values)

    # Variances: 5 to each side of the middle; 1 to each side in half of them.
    assert shares(found) == pytest.approx({"block": 25 / 25.5, "squeeze": 0.5 / 25.5}, abs=0.01)
    assert found.pairs == ()  # where it is not there it goes with nothing


def test_costs_are_told_in_their_units() -> None:
    genes = coded(depth=(1, 2))
    rows = every_one(genes, times=10)

    (gene,) = effects_of(LATENCY, genes, rows, np.log(np.array([1.5, 3.0]))[rows[:, 0]]).genes

    assert [v.value for v in gene.values] == [1, 2]
    assert [v.mean for v in gene.values] == pytest.approx([1.5, 3.0])


def test_what_is_the_same_everywhere_has_no_effects() -> None:
    genes = coded(depth=(1, 2))

    found = effects_of(LATENCY, genes, every_one(genes, 10), np.zeros(20))

    assert (found.genes, found.pairs) == ((), ())


def test_chance_alone_makes_no_effect_on_average_and_seldom_a_pair() -> None:
    rng, genes = np.random.default_rng(0), coded(**{f"g{n}": (0, 1, 2) for n in range(12)})

    raw, named = [], 0
    for _ in range(20):
        rows = rng.integers(3, size=(400, 12))
        noise = rng.normal(size=400)
        groups = np.unique(rows[:, 0], return_inverse=True)[1]
        found = effects_of(ACCURACY, genes, rows, noise)
        raw.append(explained(groups, noise))
        named += len(found.pairs)

    assert np.mean(raw) < 0.004  # without what is taken off it would be 2 / 400 and more
    assert named <= 0.02 * 20 * 66  # of 66 pairs in each


def test_explained_is_the_estimate_of_the_analysis_of_variance() -> None:
    groups, values = np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 5.0, 7.0])

    # Between: 4 * 2^2 = 16; inside: (1 + 1 + 1 + 1) / 2 = 2.
    assert explained(groups, values) == pytest.approx((16 - 2) / 4)
