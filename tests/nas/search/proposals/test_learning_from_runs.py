"""A sampler is faster for an earlier run that agrees, and as fast where that misleads."""

from functools import cache
from random import Random

import numpy as np
import optuna
import pytest

from nas.problem.pareto import Points, hypervolume, nadir
from nas.runs.findings.earlier_run import EarlierRun, earlier_run
from nas.search.proposals.surrogate import SurrogateSampler
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import Architecture, sample
from tests.nas.runs.findings.test_earlier_run import trial
from tests.nas.search.proposals.test_evolution import TWO, Towers, points, run, whole, worth

TRIALS, SEEDS = (14, 16, 18, 20), range(2)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@cache
def every_point() -> Points:
    return points(whole(Towers()))


def other_worth(graph: Graph) -> float:
    """What is trained for longer, on other data: what is better is so, by other numbers."""
    luck = Random(str(count_macs(graph))).gauss(0, 0.005)
    return 0.3 + 0.5 * worth(graph) ** 2 + luck


def earlier(seed: int, *, misleads: bool) -> EarlierRun:
    rng = Random(f"earlier {seed}")
    drawn = [sample(Towers(), rng) for _ in range(120)]
    told = [other_worth(a.graph) for a in drawn]
    if misleads:
        rng.shuffle(told)
    trials = [
        trial(at, dict(a.genes), {"accuracy": value, "macs": float(count_macs(a.graph))})
        for at, (a, value) in enumerate(zip(drawn, told, strict=True))
    ]
    found = earlier_run("runs/before", trials, TWO)
    assert found is not None
    return found


def found_by(seed: int, *runs: EarlierRun) -> list[Architecture]:
    sampler = SurrogateSampler(Towers(), TWO, seed=seed, initial=12, earlier=runs)
    return run(sampler, Towers(), worth, max(TRIALS))


def regret(found: list[Architecture]) -> float:
    """Returns the share of the hypervolume that is missing, on average after so many trials."""
    corner = nadir(every_point(), TWO)
    most = hypervolume(every_point(), corner, TWO)
    reached = [hypervolume(points(found[:count]), corner, TWO) for count in TRIALS]
    return 1 - float(np.mean(reached)) / most


@cache
def alone() -> float:
    return float(np.mean([regret(found_by(seed)) for seed in SEEDS]))


def test_a_run_that_agrees_saves_trials() -> None:
    taught = [regret(found_by(seed, earlier(seed, misleads=False))) for seed in SEEDS]

    assert np.mean(taught) < 0.5 * alone()


def test_a_run_that_misleads_costs_little() -> None:
    misled = [regret(found_by(seed, earlier(seed, misleads=True))) for seed in SEEDS]

    assert np.mean(misled) < alone() + 0.04


@pytest.mark.slow
def test_of_a_good_and_a_misleading_run_the_good_one_helps() -> None:
    taught = [
        regret(found_by(seed, earlier(seed + 9, misleads=True), earlier(seed, misleads=False)))
        for seed in SEEDS
    ]

    assert np.mean(taught) < 0.5 * alone()


def test_a_run_of_which_nothing_can_be_learned_leaves_the_search_as_it_is() -> None:
    constant = earlier(0, misleads=False)
    values = {"accuracy": np.full(len(constant.codes), 0.5)}
    useless = EarlierRun("before", constant.choices, constant.codes, values)
    sampler = SurrogateSampler(Towers(), TWO, seed=0, initial=12, earlier=[useless])

    assert sampler.teachers.beliefs[0].regressions == {}
    assert len(run(sampler, Towers(), worth, 20)) == 20
