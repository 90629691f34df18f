"""The policy is taught by rewards, the same by all trials at once as by one after another."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest

from nas.problem.metrics import METRICS
from nas.search.proposals.gate import Gate
from nas.search.proposals.learning.policy import Array, Policy
from nas.search.proposals.learning.reward import by_completion
from nas.search.proposals.reinforce import ReinforceSampler
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


def after(trials: int, initial: int = 10) -> tuple[optuna.Study, ReinforceSampler]:
    sampler = ReinforceSampler(Towers(), TWO, seed=0, initial=initial)
    study = study_of(sampler)
    for _ in range(trials):
        step(study, Towers(), worth)
    return study, sampler


def same(one: Policy, other: Policy) -> bool:
    return equal(one.own, other.own) and equal(one.pairs, other.pairs)


def equal(mine: Mapping[Any, Array], theirs: Mapping[Any, Array]) -> bool:
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[key], theirs[key]) for key in mine
    )


def test_what_was_learned_trial_by_trial_is_what_all_trials_teach_at_once() -> None:
    study, sampler = after(45)
    trials = by_completion(study.get_trials())

    fresh = ReinforceSampler(Towers(), TWO, seed=7, initial=10).policy(trials)

    assert same(sampler.policy(trials), fresh)
    assert not same(sampler.policy(trials), Policy())


def test_a_trial_that_is_told_to_have_finished_earlier_is_learned_from_in_its_place() -> None:
    study, sampler = after(30)
    trials = by_completion(study.get_trials())
    late = trials[:15] + trials[16:]
    sampler.policy(late)

    found = sampler.policy(trials)

    assert same(found, ReinforceSampler(Towers(), TWO, seed=0, initial=10).policy(trials))


def test_before_the_random_start_is_over_nothing_is_learned() -> None:
    study, sampler = after(9)

    assert same(sampler.policy(by_completion(study.get_trials())), Policy())


def test_bounds_of_the_run_are_the_targets_of_the_reward() -> None:
    bounds = {"macs": 5000.0}
    sampler = make_sampler(
        "reinforce", Towers(), TWO, seed=0, initial=10, gate=Gate(), bounds=bounds
    )
    assert isinstance(sampler, ReinforceSampler)
    study = study_of(sampler)
    for _ in range(11):
        step(study, Towers(), worth)

    assert sampler._learner is not None
    assert sampler._learner.reward.targets == bounds


def test_with_one_objective_it_finds_the_best_sooner_than_chance_and_comes_to_prefer_it() -> None:
    def search(sampler: optuna.samplers.BaseSampler) -> list[float]:
        study = optuna.create_study(sampler=sampler, direction="maximize")
        found = []
        for _ in range(120):
            trial = study.ask()
            graph = decide(Towers(), suggest(trial)).graph
            trial.set_user_attr(HASH, graph_hash(graph))
            found.append(worth(graph))
            study.tell(trial, found[-1])
        return found

    ours = [search(ReinforceSampler(Towers(), ACCURACY, seed=s)) for s in range(2)]
    chance = [search(optuna.samplers.RandomSampler(seed=s)) for s in range(2)]

    assert np.mean([max(f) for f in ours]) > np.mean([max(f) for f in chance])
    assert np.mean([f[-30:] for f in ours]) > np.mean([f[:20] for f in ours]) + 0.1
