"""The surrogate proposes networks of the space, none twice, and finds fronts early."""

import logging
from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.evaluation.free_rules import graph_values
from nas.problem.pareto import Points, hypervolume, nadir
from nas.search.proposals.batch_planner import exact_of
from nas.search.proposals.evolution import ArchiveEvolutionSampler
from nas.search.proposals.gate import SpaceUsedUpError
from nas.search.proposals.learning.beliefs import Lessons, as_if_whole, fidelities, losses_of
from nas.search.proposals.learning.gene_codes import GeneCodes
from nas.search.proposals.surrogate import SurrogateSampler
from nas.study.names import EPOCHS, HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import decide, restore
from search_spaces.space.staged import count_architectures
from tests.nas.search.proposals.test_evolution import (
    TINY,
    TWO,
    Towers,
    points,
    run,
    small_worth,
    step,
    study_of,
    whole,
    worth,
)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def every_point() -> Points:
    return points(whole(Towers()))


@pytest.mark.slow
def test_a_known_front_of_conditional_genes_is_found_before_evolution_finds_it(
    every_point: Points,
) -> None:
    corner = nadir(every_point, TWO)
    most = hypervolume(every_point, corner, TWO)

    def regret(kind: type[SurrogateSampler | ArchiveEvolutionSampler], seed: int) -> float:
        found = run(kind(Towers(), TWO, seed=seed, initial=15), Towers(), worth, 60)
        assert len({a.genes for a in found}) == 60
        assert all(restore(Towers(), dict(a.genes)) == a for a in found)
        return 1 - hypervolume(points(found), corner, TWO) / most

    ours = [regret(SurrogateSampler, seed) for seed in range(3)]
    theirs = [regret(ArchiveEvolutionSampler, seed) for seed in range(3)]

    assert np.mean(ours) < np.mean(theirs) / 1.5


def test_a_new_sampler_goes_on_where_the_old_one_was_interrupted() -> None:
    def sampler() -> SurrogateSampler:
        return SurrogateSampler(TINY, TWO, seed=5, initial=10)

    whole = run(sampler(), TINY, small_worth, 30)

    study = study_of(sampler())
    parts = [step(study, TINY, small_worth) for _ in range(17)]
    killed = study.ask()  # proposes the 18th, and is never told
    genes = dict(decide(TINY, suggest(killed)).genes)
    study.tell(killed.number, state=TrialState.FAIL)
    study.enqueue_trial(genes)
    study.sampler = sampler()
    parts += [step(study, TINY, small_worth) for _ in range(13)]

    assert [a.genes for a in parts] == [a.genes for a in whole]


@pytest.mark.slow
def test_no_architecture_is_proposed_twice_until_all_are_and_then_it_says_so() -> None:
    study = study_of(SurrogateSampler(TINY, TWO, seed=0, initial=10))
    total = count_architectures(TINY)

    hashes = {graph_hash(step(study, TINY, small_worth).graph) for _ in range(total)}

    assert len(hashes) == total
    with pytest.raises(SpaceUsedUpError):
        step(study, TINY, small_worth)


def test_workers_are_given_different_architectures_while_nothing_is_told() -> None:
    study = study_of(SurrogateSampler(Towers(), TWO, seed=0, initial=12))
    for _ in range(12):
        step(study, Towers(), worth)

    hashes = []
    for _ in range(24):
        trial = study.ask()
        hashes.append(graph_hash(decide(Towers(), suggest(trial)).graph))
        trial.set_user_attr(HASH, hashes[-1])

    assert len(set(hashes)) == 24


@pytest.mark.parametrize(
    ("value", "named"),
    [((0.5, 7.0), "accuracy is the same"), ((0.5, float("inf")), "unknown, in all trials")],
)
def test_what_teaches_nothing_is_left_to_evolution_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, value: tuple[float, float], named: str
) -> None:
    study = study_of(SurrogateSampler(TINY, TWO, seed=0, initial=6))
    hashes = set()

    with caplog.at_level(logging.INFO, "nas.search"):
        for _ in range(20):
            trial = study.ask()
            hashes.add(graph_hash(decide(TINY, suggest(trial)).graph))
            trial.set_user_attr(HASH, max(hashes))
            study.tell(trial, value)

    assert "trials are left to evolution: " in caplog.text
    assert named in caplog.text


def test_a_constraint_that_few_keep_is_learned() -> None:
    study = study_of(SurrogateSampler(Towers(), TWO, seed=0, initial=20))
    kept = []
    for _ in range(80):
        trial = study.ask()
        graph = decide(Towers(), suggest(trial)).graph
        trial.set_user_attr(HASH, graph_hash(graph))
        excess = 0.75 - worth(graph)  # as a bound on accuracy
        trial.set_constraint("accuracy >= 0.75", excess)
        kept.append(excess <= 0)
        study.tell(trial, [worth(graph), count_macs(graph)])

    assert np.mean(kept[20:]) > 2 * np.mean(kept[:20])
    assert np.mean(kept[20:]) > 0.5


def test_costs_are_exact_only_where_graphs_tell_what_trials_were_told() -> None:
    for factor, expected in ((1, (1,)), (2, ())):
        sampler = SurrogateSampler(TINY, TWO, seed=0)
        study = study_of(sampler)
        for _ in range(4):
            trial = study.ask()
            graph = decide(TINY, suggest(trial)).graph
            trial.set_user_attr(HASH, graph_hash(graph))
            study.tell(trial, [0.5, factor * graph_values(graph)["macs"]])

        assert exact_of(sampler, study.get_trials()) == expected


def test_trainings_that_were_ended_early_teach_what_they_would_have_been() -> None:
    rng = np.random.default_rng(0)
    hot = np.eye(4)[rng.integers(4, size=(60, 5))].reshape(60, 20)
    whole_losses = hot @ rng.normal(size=20)
    halved = np.where(rng.random(60) < 0.4, 2.0, 0.0)

    lessons = Lessons(np.repeat(np.arange(5), 4), hot, {})
    found = as_if_whole(lessons, whole_losses + 0.5 * halved, halved)

    assert np.abs(found - whole_losses).max() < 0.3


def test_stand_ins_for_what_was_not_had_are_no_losses() -> None:
    study = study_of(ArchiveEvolutionSampler(TINY, TWO, seed=0))
    for values, epochs, excess in (
        ((0.0, 9.0), 0, 1.0),
        ((0.5, 9.0), 1, 1.0),
        ((0.6, 9.0), 4, -1),
    ):
        trial = study.ask()
        decide(TINY, suggest(trial))
        trial.set_user_attr(EPOCHS, epochs)
        trial.set_constraint("rule", excess)
        study.tell(trial, values)

    trials = study.get_trials()

    assert losses_of(trials, TWO)[:, 0] == pytest.approx([np.nan, -0.5, -0.6], nan_ok=True)
    assert losses_of(trials, TWO)[:, 1] == pytest.approx(np.log(9.0))
    assert fidelities(trials)[1:] == pytest.approx([2, 0])


def test_a_single_feasible_trial_is_enough_to_go_on_from() -> None:
    study = study_of(SurrogateSampler(TINY, TWO, seed=0, initial=6))
    hashes = set()
    for number in range(16):
        trial = study.ask()
        graph = decide(TINY, suggest(trial)).graph
        hashes.add(graph_hash(graph))
        trial.set_user_attr(HASH, graph_hash(graph))
        trial.set_constraint("runs", 0.0 if number == 3 else 1.0)
        study.tell(trial, [small_worth(graph), count_macs(graph)])

    assert len(hashes) == 16


def test_gene_codes_are_read_back_and_children_differ_in_few_genes() -> None:
    study = study_of(ArchiveEvolutionSampler(Towers(), TWO, seed=0))
    for _ in range(12):
        step(study, Towers(), worth)
    trials = study.get_trials()
    codes = GeneCodes.of(trials)

    rows = codes.encode([t.params for t in trials])
    children = codes.bred(rows[:1], 300, np.random.default_rng(0))

    assert [codes.decode(row) for row in rows] == [t.params for t in trials]
    assert codes.one_hot(rows).sum(axis=1) == pytest.approx([len(t.params) for t in trials])
    changed = (children != rows[0]).sum(axis=1)
    assert set(changed) <= {0, 1, 2}
    assert np.mean(changed == 1) > 0.7


@dataclass(frozen=True)
class Long:
    """As many genes of four values as one likes, each a width of its own."""

    genes: int
    name: str = "long"

    def network(self, pick: Pick) -> Graph:
        widths = [int(pick(Choice(f"gene{at}", (1, 2, 3, 4)))) for at in range(self.genes)]
        net = GraphBuilder((1, 1, 1))
        net.add("sum", Linear(sum(width * (at + 1) for at, width in enumerate(widths))), net.input)
        return net.graph()


@pytest.mark.slow
def test_thousands_of_genes_are_learned_from_in_bounded_memory() -> None:
    space, value = Long(2000), np.random.default_rng(0).random
    sampler = SurrogateSampler(space, TWO, seed=0, initial=6)
    study = study_of(sampler)
    before = getrusage(RUSAGE_SELF).ru_maxrss

    for _ in range(8):
        trial = study.ask()
        trial.set_user_attr(HASH, graph_hash(decide(space, suggest(trial)).graph))
        study.tell(trial, [float(value()), 1 + float(value())])

    planned = sampler.planned(study.get_trials())
    assert len(planned) > 0
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 600_000  # kilobytes


def test_a_sampler_that_begins_anywhere_remembers_what_one_from_the_start_does() -> None:
    planned = {}
    for begun in (0, 23):
        study = study_of(SurrogateSampler(Towers(), TWO, seed=3, initial=12))
        for _ in range(24):
            if study.trials and len(study.trials) == begun:
                study.sampler = SurrogateSampler(Towers(), TWO, seed=3, initial=12)
            step(study, Towers(), worth)
        planned[begun] = [t.params for t in study.trials]

    assert planned[0] == planned[23]
