"""Whatever plans whole architectures: of the space, let through, new, and as before a kill."""

from dataclasses import dataclass

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.problem.records import SAMPLERS
from nas.search.proposals.gate import Gate, SpaceUsedUpError
from nas.search.proposals.planning import PlanningSampler
from nas.search.proposals.samplers import make_sampler
from nas.search.proposals.sieve import Sieve
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, decide, restore
from tests.nas.search.proposals.test_evolution import (
    TWO,
    Towers,
    at_most,
    run,
    small_worth,
    step,
    study_of,
    whole,
    worth,
)


@dataclass(frozen=True)
class Few:
    """16 ways, three in four of which ask for a kernel."""

    name: str = "few"

    def network(self, pick: Pick) -> Graph:
        net = GraphBuilder((1, 4, 4))
        x = net.add("stem", Conv2d(int(pick(Choice("stem.width", (1, 2, 3, 4))))), net.input)
        if pick(Choice("block", ("none", "conv"))) == "conv":
            kernel = int(pick(Choice("block.kernel", (1, 3, 5))))
            x = net.add("block", Conv2d(4, (kernel, kernel)), x)
        net.add("classifier", Linear(2), net.add("pool", GlobalAvgPool(), x))
        return net.graph()


def planner(
    name: str, space: SearchSpace, seed: int = 0, initial: int = 8, gate: Gate | None = None
) -> PlanningSampler:
    made = make_sampler(name, space, TWO, seed=seed, initial=initial, gate=gate or Gate())
    assert isinstance(made, PlanningSampler)
    return made


OURS = [name for name in SAMPLERS if not isinstance(planner(name, Few()), Sieve)]
every_planner = pytest.mark.parametrize("name", OURS)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def ask(study: optuna.Study, space: SearchSpace) -> tuple[optuna.Trial, Architecture]:
    trial = study.ask()
    architecture = decide(space, suggest(trial))
    trial.set_user_attr(HASH, graph_hash(architecture.graph))
    return trial, architecture


def test_the_classics_are_among_those_that_plan() -> None:
    assert set(OURS) >= {"evolution", "surrogate", "aging", "reinforce"}


@every_planner
def test_every_proposal_is_a_new_architecture_with_the_genes_it_asks_for(name: str) -> None:
    found = run(planner(name, Towers()), Towers(), worth, 60)

    assert len({graph_hash(a.graph) for a in found}) == 60
    assert all(restore(Towers(), dict(a.genes)) == a for a in found)
    assert {dict(a.genes)["kind"] for a in found[:8]} == {"long", "wide"}


@every_planner
def test_a_space_is_used_up_and_then_it_says_so(name: str) -> None:
    study = study_of(planner(name, Few(), initial=5))

    hashes = {graph_hash(step(study, Few(), small_worth).graph) for _ in range(16)}

    assert hashes == {graph_hash(architecture.graph) for architecture in whole(Few())}
    with pytest.raises(SpaceUsedUpError, match="space 'few' has no more architectures"):
        step(study, Few(), small_worth)


@every_planner
def test_the_same_seed_proposes_the_same_and_another_does_not(name: str) -> None:
    first, again, other = (
        [a.genes for a in run(planner(name, Towers(), seed), Towers(), worth, 20)]
        for seed in (3, 3, 4)
    )

    assert first == again
    assert first != other


@every_planner
def test_what_a_killed_search_goes_on_with_is_what_it_would_have_proposed(name: str) -> None:
    whole_search = run(planner(name, Towers(), 5), Towers(), worth, 34)

    study = study_of(planner(name, Towers(), 5))
    parts = [step(study, Towers(), worth) for _ in range(17)]
    killed, architecture = ask(study, Towers())  # the 18th, which is never told
    study.tell(killed.number, state=TrialState.FAIL)
    study.enqueue_trial(dict(architecture.genes))
    study.sampler = planner(name, Towers(), 5)
    parts += [step(study, Towers(), worth) for _ in range(17)]

    assert [a.genes for a in parts] == [a.genes for a in whole_search]


@every_planner
def test_all_that_the_gate_lets_through_is_proposed_and_nothing_else(name: str) -> None:
    costs = sorted(count_macs(a.graph) for a in whole(Few()))
    limit = costs[8]
    study = study_of(planner(name, Few(), gate=at_most(limit), initial=4))

    found = [step(study, Few(), small_worth) for _ in range(sum(c <= limit for c in costs))]

    assert max(count_macs(a.graph) for a in found) <= limit
    assert len({graph_hash(a.graph) for a in found}) == len(found)
    with pytest.raises(SpaceUsedUpError):
        step(study, Few(), small_worth)


@every_planner
def test_workers_are_given_different_architectures_and_may_tell_in_any_order(name: str) -> None:
    study = study_of(planner(name, Towers()))
    asked = [ask(study, Towers()) for _ in range(12)]
    hashes = [graph_hash(a.graph) for _, a in asked]
    for _ in range(24):
        trial, architecture = asked.pop(len(hashes) % len(asked))
        study.tell(trial, [worth(architecture.graph), count_macs(architecture.graph)])
        asked.append(ask(study, Towers()))
        hashes.append(graph_hash(asked[-1][1].graph))

    assert len(set(hashes)) == 36


@every_planner
@pytest.mark.parametrize(
    ("values", "excess"),
    [
        ([0.0, 1e15], 1.0),  # nothing runs: stand-ins are told
        ([0.5, 7.0], 0.0),  # all is the same
        ([0.5, float("inf")], 0.0),
        ([float("-inf"), 7.0], -0.5),
        ([0.0, 0.0], 0.0),
    ],
)
def test_values_that_teach_nothing_stop_nobody(
    name: str, values: list[float], excess: float
) -> None:
    study = study_of(planner(name, Towers(), initial=5))
    hashes = set()
    for number in range(16):
        trial, architecture = ask(study, Towers())
        hashes.add(graph_hash(architecture.graph))
        if number % 5 == 4:
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_constraint("runs", excess)
        study.tell(trial, values)

    assert len(hashes) >= 13  # what failed may be proposed again


@pytest.mark.sweep(4)
@every_planner
def test_what_breaks_a_constraint_is_proposed_ever_less(name: str) -> None:
    study = study_of(planner(name, Towers(), initial=20))
    kept = []
    for _ in range(110):
        trial, architecture = ask(study, Towers())
        excess = 0.7 - worth(architecture.graph)  # as a bound on accuracy
        kept.append(excess <= 0)
        trial.set_constraint("accuracy >= 0.7", excess)
        study.tell(trial, [worth(architecture.graph), count_macs(architecture.graph)])

    assert np.mean(kept[-40:]) > 1.5 * np.mean(kept[:20])


@every_planner
def test_networks_from_outside_the_space_hide_nothing(name: str) -> None:
    study = study_of(planner(name, Towers(), initial=2))
    for accuracy in (0.99, 0.98, 0.97):
        study.enqueue_trial({})
        study.tell(study.ask(), [accuracy, 1.0])

    found = [step(study, Towers(), worth) for _ in range(12)]

    assert len({a.genes for a in found}) == 12
