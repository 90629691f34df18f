"""The policy is a distribution over whole architectures, and steps up its exact gradient."""

from copy import deepcopy
from math import log
from random import Random

import numpy as np
import pytest

from nas.search.proposals.learning.policy import CONTEXT, Policy, entropy_gradient
from search_spaces.building.choice import Choice, Value
from search_spaces.space.space import decide, record, sample
from tests.nas.search.proposals.test_evolution import Towers, whole

Taken = list[tuple[Choice, Value]]


def taken(seed: int) -> Taken:
    """The decisions of a random architecture."""
    genes = dict(sample(Towers(), Random(seed)).genes)
    choices = record(Towers(), lambda choice: genes[choice.name]).choices
    return [(choice, genes[choice.name]) for choice in choices]


def taught(steps: int = 60) -> Policy:
    """A policy that liked and disliked some architectures at random."""
    policy, rng = Policy(), Random(1)
    for number in range(steps):
        policy.learn(taken(number), rng.uniform(-2, 2), 0.5, 0.01)
    return policy


def log_probability(policy: Policy, decisions: Taken) -> float:
    before: list[tuple[str, Value]] = []
    total = 0.0
    for choice, value in decisions:
        total += log(policy.chances(choice, before)[choice.values.index(value)])
        before.append((choice.name, value))
    return total


def entropies(policy: Policy, decisions: Taken) -> float:
    """The entropies of the decisions along a path."""
    before: list[tuple[str, Value]] = []
    total = 0.0
    for choice, value in decisions:
        chances = policy.chances(choice, before)
        total -= float(chances @ np.log(chances))
        before.append((choice.name, value))
    return total


def test_the_chances_of_all_architectures_add_up_to_one() -> None:
    policy = taught()
    total = 0.0
    for architecture in whole(Towers()):
        genes = dict(architecture.genes)
        choices = record(Towers(), lambda choice: genes[choice.name]).choices  # noqa: B023
        total += np.exp(log_probability(policy, [(c, genes[c.name]) for c in choices]))

    assert total == pytest.approx(1, abs=1e-12)


def test_a_policy_that_learned_nothing_draws_every_decision_uniformly() -> None:
    for choice, _ in taken(0):
        assert Policy().chances(choice, [("x", 1)]) == pytest.approx(1 / len(choice.values))


def test_what_is_drawn_is_as_likely_as_it_says() -> None:
    policy, rng = taught(), Random(0)
    kind = Choice("kind", ("long", "wide"))
    chance = policy.chances(kind, [])[0]
    later = Choice("long.layer0.width", (4, 8, 12, 16))
    wanted = policy.chances(later, [("kind", "long")])

    drawn = [dict(decide(Towers(), policy.picking(rng)).genes) for _ in range(3000)]

    long = [genes for genes in drawn if genes["kind"] == "long"]
    assert len(long) / len(drawn) == pytest.approx(chance, abs=0.03)
    found = [np.mean([g["long.layer0.width"] == v for g in long]) for v in later.values]
    assert found == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize(("advantage", "bonus"), [(1.0, 0.0), (-0.7, 0.0), (0.0, 1.0), (0.5, 0.3)])
def test_a_step_is_the_gradient_that_differences_of_logits_give(
    advantage: float, bonus: float
) -> None:
    def worth_of(policy: Policy) -> float:
        return advantage * log_probability(policy, path) + bonus * entropies(policy, path)

    path, nudge = taken(3), 1e-6
    before, after = taught(), taught()
    after.learn(path, advantage, 1.0, bonus)
    assert after.own.keys() == before.own.keys() | {c.name for c, _ in path}

    for tables in ("own", "pairs"):
        moved = getattr(after, tables)
        for key in moved:
            old = getattr(before, tables).get(key, np.zeros_like(moved[key]))
            for at in range(len(old)):
                here, there = deepcopy(before), deepcopy(before)
                for policy, sign in ((here, -1), (there, 1)):
                    nudged = old.copy()
                    nudged[at] += sign * nudge
                    getattr(policy, tables)[key] = nudged
                slope = (worth_of(there) - worth_of(here)) / (2 * nudge)
                assert moved[key][at] - old[at] == pytest.approx(slope, abs=1e-6)


def test_the_gradient_of_entropy_is_zero_where_it_is_largest_and_where_nothing_is_open() -> None:
    assert entropy_gradient(np.full(4, 0.25)) == pytest.approx(0)
    assert entropy_gradient(np.array([1.0, 0.0, 0.0])) == pytest.approx(0)
    assert entropy_gradient(np.array([0.9, 0.1]))[0] < 0


def test_a_high_temperature_draws_nearly_uniformly() -> None:
    policy, choice = Policy(), Choice("width", (4, 8))
    for _ in range(40):
        policy.learn([(choice, 8)], 1.0, 1.0, 0.0)

    assert policy.chances(choice, [])[1] > 0.95
    assert policy.chances(choice, [], 50.0) == pytest.approx(0.5, abs=0.05)


def test_a_gene_learns_what_goes_with_a_decision_before_it() -> None:
    first, second = Choice("first", ("a", "b")), Choice("second", ("a", "b"))
    policy, rng = Policy(), Random(0)
    for _ in range(400):
        one, two = rng.choice("ab"), rng.choice("ab")
        policy.learn([(first, one), (second, two)], 1.0 if one == two else -1.0, 0.2, 0.0)

    assert policy.chances(second, [("first", "a")])[0] > 0.9
    assert policy.chances(second, [("first", "b")])[1] > 0.9


def test_the_work_of_a_gene_does_not_grow_beyond_what_it_looks_back_on() -> None:
    policy = Policy()
    path = [(Choice(f"gene{n}", (0, 1)), n % 2) for n in range(3 * CONTEXT)]

    policy.learn(path, 1.0, 0.1, 0.0)

    assert len(policy.own) == 3 * CONTEXT
    assert len(policy.pairs) < 3 * CONTEXT * CONTEXT
    ((last, _),) = path[-1:]
    looked = {decision for gene, decision in policy.pairs if gene == last.name}
    assert looked == {(c.name, v) for c, v in path[-CONTEXT - 1 : -1]}
