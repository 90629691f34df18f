"""The first tries are the fronts of earlier runs, spread, as far as this space can make them."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from nas.problem.metrics import METRICS
from nas.runs.findings.earlier_run import EarlierRun, earlier_run
from nas.search.proposals.learning.first_tries import EVERY, MOST, FirstTries, spread
from nas.search.proposals.surrogate import SurrogateSampler
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.graphs.cost import count_macs
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, decide, restore, sample
from tests.nas.runs.findings.test_earlier_run import trial
from tests.nas.search.proposals.test_evolution import (
    TINY,
    TWO,
    Towers,
    at_most,
    step,
    study_of,
    worth,
)


def searched(count: int, seed: int = 0) -> EarlierRun:
    """Returns a run of random architectures of the towers."""
    drawn = [sample(Towers(), Random(f"before {seed}-{at}")) for at in range(count)]
    trials = [
        trial(at, dict(a.genes), {"accuracy": worth(a.graph), "macs": float(count_macs(a.graph))})
        for at, a in enumerate(drawn)
    ]
    run = earlier_run(f"runs/{seed}", trials, TWO)
    assert run is not None
    return run


def every(make: Callable[[], Architecture]) -> Architecture:
    return make()


def test_the_best_comes_first_and_then_what_is_farthest_from_all_before() -> None:
    run = EarlierRun(
        "before",
        {"at": tuple(range(7))},
        np.arange(7)[:, None],
        {
            "accuracy": np.array([0.1, 0.5, 0.52, 0.9, 0.9, 0.05, np.nan]),
            "macs": np.array([1.0, 8.0, 9.0, 64.0, 64.0, 70.0, 0.5]),
        },
    )

    # The front is 0, 1, 2, 3 (and 4, its equal): the most accurate, the cheapest, the middle.
    assert [genes["at"] for genes in spread(run, TWO)] == [3, 0, 1, 2]
    assert spread(run, [METRICS["latency_ms"]]) == []


def test_a_long_front_is_cut() -> None:
    line = np.arange(1.0, 101)
    codes = np.arange(100)[:, None]
    run = EarlierRun("before", {"at": tuple(range(100))}, codes, {"accuracy": line, "macs": line})

    chosen = sorted(int(genes["at"]) for genes in spread(run, TWO))

    assert len(chosen) == MOST
    assert {0, 99} <= {*chosen}


def test_several_runs_take_turns_and_nothing_is_tried_twice() -> None:
    one, other = searched(60, 1), searched(60, 2)

    tries = FirstTries(Towers(), TWO, [one, other, one], every, 0)

    fronts = [[dict(genes) for genes in spread(run, TWO)] for run in (one, other)]
    found = [dict(a.genes) for a in tries.architectures]
    assert found[:4] == [fronts[0][0], fronts[1][0], fronts[0][1], fronts[1][1]]
    assert len(tries.hashes) == len(found) == len(fronts[0]) + len(fronts[1])
    assert all(restore(Towers(), genes).graph for genes in found)


def test_every_fourth_of_the_random_trials_is_a_try_and_the_others_are_as_without() -> None:
    run = searched(80)
    sampler = SurrogateSampler(Towers(), TWO, seed=4, initial=14, earlier=[run])
    study, alone = study_of(sampler), study_of(SurrogateSampler(Towers(), TWO, seed=4, initial=14))

    found = [step(study, Towers(), worth) for _ in range(14)]
    drawn = [step(alone, Towers(), worth) for _ in range(14)]

    front = [dict(genes) for genes in spread(run, TWO)]
    assert len(front) >= 3
    assert [dict(a.genes) for a in found[3::4]] == front[:3]
    assert [a for at, a in enumerate(found) if at % 4 < 3] == [
        a for at, a in enumerate(drawn) if at % 4 < 3
    ]


def test_a_space_that_differs_completes_what_it_can_and_the_gate_decides() -> None:
    run = searched(80)
    limit = int(np.median(run.values["macs"]))
    sampler = SurrogateSampler(Towers(), TWO, seed=0, gate=at_most(limit), earlier=[run])

    assert sampler.first_tries.architectures
    assert all(count_macs(a.graph) <= limit for a in sampler.first_tries.architectures)
    elsewhere = FirstTries(TINY, TWO, [run], every, 0)
    assert all(restore(TINY, dict(a.genes)) == a for a in elsewhere.architectures)


def test_workers_try_different_ones_and_where_all_are_tried_random_ones_follow() -> None:
    run = searched(6)
    few = spread(run, TWO)
    study = study_of(SurrogateSampler(Towers(), TWO, seed=0, initial=40, earlier=[run]))

    hashes = []
    for _ in range(40):
        asked = study.ask()
        hashes.append(graph_hash(decide(Towers(), suggest(asked)).graph))
        asked.set_user_attr(HASH, hashes[-1])

    assert len({*hashes}) == 40
    tried = [graph_hash(restore(Towers(), genes).graph) for genes in few]
    assert hashes[EVERY - 1 : EVERY * len(few) : EVERY] == tried


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_tries_the_same(seed: int) -> None:
    one, two = (FirstTries(TINY, TWO, [searched(20)], every, seed) for _ in range(2))

    assert one.architectures == two.architectures
