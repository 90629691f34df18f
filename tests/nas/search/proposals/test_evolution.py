"""The sampler evolves whole architectures, repeats none, and beats chance on a known front."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.evaluation.free_rules import Judgement
from nas.problem.metrics import METRICS
from nas.problem.pareto import Points, hypervolume, nadir, non_dominated
from nas.search.proposals.evolution import ArchiveEvolutionSampler, Parents, best_trials
from nas.search.proposals.gate import Gate, SpaceUsedUpError
from nas.search.proposals.left_over import every_architecture
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, decide, restore
from search_spaces.space.staged import count_architectures
from tests.nas.parts.tiny import tiny

TWO = (METRICS["accuracy"], METRICS["macs"])
TINY = tiny().config().space
Score = Callable[[Graph], float]


@dataclass(frozen=True)
class Towers:
    """5 layers of 4 widths, or 3 layers of 4 widths and 3 kernels: 2,752 ways, no gene shared."""

    name: str = "towers"

    def network(self, pick: Pick) -> Graph:
        net = GraphBuilder((1, 8, 8))
        x = net.input
        kind = str(pick(Choice("kind", ("long", "wide"))))
        for index in range(5 if kind == "long" else 3):
            at = f"{kind}.layer{index}"
            kernel = 3
            if kind == "wide":
                kernel = int(pick(Choice(f"{at}.kernel", (1, 3, 5))))
            width = int(pick(Choice(f"{at}.width", (4, 8, 12, 16))))
            x = net.add(at, Conv2d(width, (kernel, kernel)), x)
        x = net.add("pool", GlobalAvgPool(), x)
        net.add("classifier", Linear(10), x)
        return net.graph()


def worth(graph: Graph) -> float:
    """A made-up accuracy that rewards a width and a kernel of its own in each layer."""
    convs = [node.operator for node in graph.nodes if isinstance(node.operator, Conv2d)]
    wanted = ((4, 5), (16, 1), (8, 5), (12, 3), (16, 3))
    misses = [
        abs(conv.out_channels - width) / 12 + abs(conv.kernel_size[0] - kernel) / 4
        for conv, (width, kernel) in zip(convs, wanted, strict=False)
    ]
    return 1 - sum(misses) / 10


def small_worth(graph: Graph) -> float:
    """A made-up accuracy for any graph: more MACs help, some graphs more than others."""
    luck = Random(graph_hash(graph)).random()
    return min(0.99, 0.5 + 0.05 * float(np.log2(count_macs(graph))) * luck)


def whole(space: SearchSpace) -> list[Architecture]:
    return [judged.architecture for judged in every_architecture(space, Gate()) if judged]


def at_most(limit: int) -> Gate:
    """Lets networks of so many MACs through."""

    def judge(graph: Graph) -> Judgement:
        excess = count_macs(graph) / limit - 1
        return Judgement({f"macs <= {limit}": excess}, "too many") if excess > 0 else Judgement()

    return Gate(judge)


@pytest.fixture(scope="module")
def every_point() -> Points:
    return points(whole(Towers()))


def points(found: Iterable[Architecture]) -> Points:
    return np.array([(worth(a.graph), count_macs(a.graph)) for a in found])


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    return optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])


def step(study: optuna.Study, space: SearchSpace, score: Score) -> Architecture:
    trial = study.ask()
    architecture = decide(space, suggest(trial))
    trial.set_user_attr(HASH, graph_hash(architecture.graph))
    study.tell(trial, [score(architecture.graph), count_macs(architecture.graph)])
    return architecture


def run(
    sampler: optuna.samplers.BaseSampler, space: SearchSpace, score: Score, trials: int
) -> list[Architecture]:
    study = study_of(sampler)
    return [step(study, space, score) for _ in range(trials)]


def test_every_child_is_an_architecture_of_the_space() -> None:
    for architecture in run(ArchiveEvolutionSampler(Towers(), TWO, seed=0), Towers(), worth, 60):
        assert restore(Towers(), dict(architecture.genes)) == architecture


def test_a_space_is_walked_from_its_first_to_its_last_architecture_once() -> None:
    genes = [architecture.genes for architecture in whole(TINY)]

    assert len(genes) == len(set(genes)) == count_architectures(TINY)
    assert genes == sorted(genes, key=[item.genes for item in whole(TINY)].index)


def test_no_architecture_is_proposed_twice_until_all_are_and_then_it_says_so() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0))
    total = count_architectures(TINY)

    hashes = {graph_hash(step(study, TINY, small_worth).graph) for _ in range(total)}

    assert len(hashes) == total
    with pytest.raises(SpaceUsedUpError, match="space 'tiny' has no more architectures"):
        step(study, TINY, small_worth)


def test_a_trial_under_way_is_not_proposed_again() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0))
    hashes = []
    for _ in range(count_architectures(TINY)):
        trial = study.ask()
        hashes.append(graph_hash(decide(TINY, suggest(trial)).graph))
        trial.set_user_attr(HASH, hashes[-1])

    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(("kind", "num_layers"), [("long", 5), ("wide", 3)])
def test_genes_that_only_some_trials_have_are_evolved(
    kind: str, num_layers: int, every_point: Points
) -> None:
    def score(graph: Graph) -> float:
        return worth(graph) - 0.5 * (len(graph.nodes) != num_layers + 2)

    def volume(sampler: optuna.samplers.BaseSampler) -> float:
        found = [a for a in run(sampler, Towers(), score, 200) if dict(a.genes)["kind"] == kind]
        return hypervolume(points(found), corner, TWO)

    corner = nadir(every_point, TWO)
    ours = volume(ArchiveEvolutionSampler(Towers(), TWO, seed=0))

    assert ours > volume(optuna.samplers.RandomSampler(seed=0))
    assert ours > volume(optuna.samplers.NSGAIISampler(seed=0, population_size=20))


def test_the_same_seed_proposes_the_same_and_another_seed_does_not() -> None:
    first, again, other = (
        [a.genes for a in run(ArchiveEvolutionSampler(TINY, TWO, seed=s), TINY, small_worth, 40)]
        for s in (3, 3, 4)
    )

    assert first == again
    assert first != other


def test_a_new_sampler_goes_on_where_the_old_one_was_interrupted() -> None:
    whole = run(ArchiveEvolutionSampler(TINY, TWO, seed=5), TINY, small_worth, 40)

    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=5))
    parts = [step(study, TINY, small_worth) for _ in range(23)]
    killed = study.ask()  # proposes the 24th, and is never told
    genes = dict(decide(TINY, suggest(killed)).genes)
    study.tell(killed.number, state=TrialState.FAIL)
    study.enqueue_trial(genes)
    study.sampler = ArchiveEvolutionSampler(TINY, TWO, seed=5)
    parts += [step(study, TINY, small_worth) for _ in range(17)]

    assert [a.genes for a in parts] == [a.genes for a in whole]


def test_only_affordable_children_are_proposed_while_there_are_any() -> None:
    costs = sorted(count_macs(a.graph) for a in whole(TINY))
    limit = costs[len(costs) // 10]
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0, gate=at_most(limit)))

    found = [step(study, TINY, small_worth) for _ in range(sum(c <= limit for c in costs))]

    assert max(count_macs(a.graph) for a in found) <= limit
    assert len({a.genes for a in found}) == len(found)
    with pytest.raises(SpaceUsedUpError):
        step(study, TINY, small_worth)


def test_where_nothing_is_feasible_the_least_infeasible_breed() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0, initial=8))
    excesses = []
    for _ in range(60):
        trial = study.ask()
        graph = decide(TINY, suggest(trial)).graph
        trial.set_user_attr(HASH, graph_hash(graph))
        excesses.append(count_macs(graph) / 10 - 1)
        trial.set_constraint("macs <= 10", excesses[-1])
        study.tell(trial, [0.0, count_macs(graph)])

    parents = best_trials(study.get_trials(), TWO)
    assert len(parents) == 15
    assert max(p.constraints["macs <= 10"] for p in parents) <= sorted(excesses)[14]
    assert np.mean(excesses[20:40]) < np.mean(excesses[:8])


def test_networks_from_outside_the_space_are_no_parents_but_hide_nothing() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0, initial=2))
    for accuracy in (0.99, 0.98):
        study.enqueue_trial({})
        study.tell(study.ask(), [accuracy, 1.0])

    architecture = step(study, TINY, small_worth)

    assert restore(TINY, dict(architecture.genes)) == architecture
    assert [t.number for t in best_trials(study.get_trials(), TWO)] == [2]


def test_of_equal_points_one_is_a_parent() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0, initial=40))
    values = [(0.1, 10.0)] * 12 + [(0.5, 20.0), (0.5, 20.0), (0.4, 30.0)]
    for value in values:
        trial = study.ask()
        graph = decide(TINY, suggest(trial)).graph
        trial.set_user_attr(HASH, graph_hash(graph))
        study.tell(trial, value)

    assert [t.number for t in best_trials(study.get_trials(), TWO)] == [0, 12]


def test_four_children_of_five_differ_in_one_gene_and_the_others_in_two() -> None:
    study = study_of(ArchiveEvolutionSampler(Towers(), TWO, seed=0, initial=1, crossover_rate=0))
    study.enqueue_trial({"kind": "long"} | {f"long.layer{i}.width": 8 for i in range(5)})
    (only,) = [step(study, Towers(), worth)]
    parents = Parents.of(best_trials(study.get_trials(), TWO), TWO)
    sampler, rng = study.sampler, Random(0)
    assert isinstance(sampler, ArchiveEvolutionSampler)

    children = [dict(sampler.child(parents, rng, 0).genes) for _ in range(600)]

    same_kind = [child for child in children if child["kind"] == "long"]
    changed = [sum(c[k] != v for k, v in dict(only.genes).items()) for c in same_kind]
    assert set(changed) == {1, 2}
    assert 0.13 < np.mean(np.array(changed) == 2) < 0.27


def rows(values: Points) -> set[tuple[float, ...]]:
    return {tuple(row) for row in values.tolist()}


@pytest.mark.parametrize("seed", range(5))
def test_a_known_front_is_found_sooner_than_by_chance(seed: int, every_point: Points) -> None:
    corner = nadir(every_point, TWO)
    front = rows(every_point[non_dominated(every_point, TWO)])

    def regret(found: list[Architecture]) -> float:
        return 1 - hypervolume(points(found), corner, TWO) / hypervolume(every_point, corner, TWO)

    ours = run(ArchiveEvolutionSampler(Towers(), TWO, seed=seed), Towers(), worth, 150)
    chance = run(optuna.samplers.RandomSampler(seed=seed), Towers(), worth, 150)

    assert len({a.genes for a in ours}) == 150
    assert regret(ours) < regret(chance)
    assert len(front & rows(points(ours))) > len(front & rows(points(chance)))
