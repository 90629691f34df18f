"""Aging evolution breeds from the young, whatever the old were worth."""

from random import Random

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from nas.problem.metrics import METRICS
from nas.search.proposals.aging import AgingEvolutionSampler
from nas.search.proposals.gate import Gate
from nas.search.proposals.samplers import make_sampler
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import decide
from tests.nas.search.proposals.test_evolution import TWO, Towers, step, study_of, worth

ACCURACY = (METRICS["accuracy"],)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_its_population_is_as_large_as_the_random_start_and_a_sample_a_quarter_of_it() -> None:
    made = make_sampler("aging", Towers(), TWO, seed=0, initial=100, gate=Gate())

    assert isinstance(made, AgingEvolutionSampler)
    assert (made.initial, made.sample_size) == (100, 25)  # as in the paper


def test_a_child_differs_from_a_young_one_in_one_decision() -> None:
    study = study_of(AgingEvolutionSampler(Towers(), TWO, seed=0, initial=12))
    for _ in range(40):
        step(study, Towers(), worth)
    trials = study.get_trials()

    for number in range(12, 40):
        child = trials[number].params
        young = [trial.params for trial in trials[number - 12 : number]]
        assert any(is_child(child, parent) for parent in young), number


def is_child(genes: dict[str, object], parent: dict[str, object]) -> bool:
    """Whether one decision was changed: of what the parent was asked, exactly one differs."""
    if genes["kind"] != parent["kind"]:
        return True  # all else was drawn anew
    return sum(genes[name] != value for name, value in parent.items()) == 1


def told(*values: float, excess: float = -1.0) -> FrozenTrial:
    return create_trial(
        values=values,
        params={"kind": "long"},
        distributions={"kind": CategoricalDistribution(("long", "wide"))},
        constraints={"rule": excess},
    )


def test_the_parent_is_the_best_of_the_sample() -> None:
    one = AgingEvolutionSampler(Towers(), ACCURACY, seed=0)
    two = AgingEvolutionSampler(Towers(), TWO, seed=0)
    accuracies = [told(0.2), told(0.9), told(0.5)]
    pairs = [told(0.2, 9.0), told(0.9, 8.0), told(0.5, 2.0), told(0.4, 3.0)]

    assert one.best_of(accuracies, Random(0)) is accuracies[1]
    chosen = [two.best_of(pairs, Random(seed)) for seed in range(20)]
    assert {pairs.index(trial) for trial in chosen} == {1, 2}


def test_what_keeps_the_constraints_is_a_parent_before_what_is_better_and_does_not() -> None:
    sampler = AgingEvolutionSampler(Towers(), TWO, seed=0)
    sampled = [told(0.9, 1.0, excess=0.5), told(0.3, 5.0), told(0.8, 1.0, excess=0.1)]

    assert sampler.best_of(sampled, Random(0)) is sampled[1]
    assert sampler.best_of([sampled[0], sampled[2]], Random(0)) is sampled[2]


def test_with_one_objective_it_finds_the_best_sooner_than_chance() -> None:
    def best(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler, direction="maximize")
        for _ in range(150):
            trial = study.ask()
            graph = decide(Towers(), suggest(trial)).graph
            trial.set_user_attr(HASH, graph_hash(graph))
            study.tell(trial, worth(graph))
        return study.best_value

    ours = [best(AgingEvolutionSampler(Towers(), ACCURACY, seed=s)) for s in range(2)]
    chance = [best(optuna.samplers.RandomSampler(seed=s)) for s in range(2)]

    assert np.mean(ours) > np.mean(chance) + 0.02
