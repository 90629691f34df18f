"""Whatever trials are told, no sampler stalls, and those of ours repeat nothing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from nas.evaluation.free_rules import graph_values
from nas.problem.records import SAMPLERS
from nas.search.proposals.evolution import ArchiveEvolutionSampler
from nas.search.proposals.gate import Gate
from nas.search.proposals.samplers import make_sampler
from nas.search.proposals.sieve import Sieve
from nas.search.proposals.surrogate import SurrogateSampler
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, decide
from tests.nas.search.proposals.test_evolution import TINY, TWO, small_worth, study_of

Told = Callable[[int, Graph], tuple[float, float]]
Excess = Callable[[int, Graph], Mapping[str, float]]
INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def no_rule(number: int, graph: Graph) -> dict[str, float]:
    return {}


def made(name: str, space: SearchSpace, initial: int = 6) -> BaseSampler:
    return make_sampler(name, space, TWO, seed=0, initial=initial, gate=Gate())


def tried(
    sampler: BaseSampler, space: SearchSpace, told: Told, count: int, excess: Excess = no_rule
) -> list[str]:
    """Returns the hashes of what a sampler proposes, told so much of each."""
    study, hashes = study_of(sampler), []
    for number in range(count):
        trial = study.ask()
        graph = decide(space, suggest(trial)).graph
        hashes.append(graph_hash(graph))
        trial.set_user_attr(HASH, hashes[-1])
        for rule, amount in excess(number, graph).items():
            trial.set_constraint(rule, amount)
        study.tell(trial, told(number, graph))
    return hashes


def usual(number: int, graph: Graph) -> tuple[float, float]:
    return small_worth(graph), count_macs(graph)


BAD: dict[str, Told] = {
    "constant": lambda number, graph: (0.5, 7.0),
    "of one accuracy": lambda number, graph: (0.5, count_macs(graph)),
    "of one cost": lambda number, graph: (small_worth(graph), 7.0),
    "infinite": lambda number, graph: (-INF, INF),
    "partly infinite": lambda number, graph: usual(number, graph) if number % 3 else (INF, -INF),
    "not numbers": lambda number, graph: (NAN, 1.0),
    "partly not numbers": lambda number, graph: usual(number, graph) if number % 3 else (NAN, NAN),
    "huge": lambda number, graph: (1e300 * small_worth(graph), 1e-300 * count_macs(graph)),
    "costs of zero": lambda number, graph: (small_worth(graph), 0.0),
    "negative costs": lambda number, graph: (small_worth(graph), -float(count_macs(graph))),
}


@pytest.mark.filterwarnings("ignore:The value nan is not acceptable")
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("told", BAD.values(), ids=BAD)
def test_a_sampler_goes_on_whatever_its_trials_were_told(name: str, told: Told) -> None:
    sampler = made(name, TINY)

    hashes = tried(sampler, TINY, told, 24)

    if not isinstance(sampler, Sieve):  # Optuna's samplers may repeat themselves
        assert len(set(hashes)) == 24


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("feasible", [(), (3,), (17,)], ids=["none", "early one", "late one"])
def test_a_sampler_goes_on_where_next_to_nothing_is_feasible(
    name: str, feasible: tuple[int, ...]
) -> None:
    def rules(number: int, graph: Graph) -> dict[str, float]:
        return {"accuracy >= 2": -0.1 if number in feasible else 2 - small_worth(graph)}

    sampler = made(name, TINY)

    hashes = tried(sampler, TINY, usual, 24, rules)

    if not isinstance(sampler, Sieve):
        assert len(set(hashes)) == 24


@dataclass(frozen=True)
class Long:
    """Thousands of genes; the graph is a stand-in, nearly always another one for each way."""

    genes: int = 2000
    name: str = "long"

    def network(self, pick: Pick) -> Graph:
        values = [pick(Choice(f"gene{at}", (1, 2, 3))) for at in range(self.genes)]
        net = GraphBuilder((1, 1, 1))
        net.add("stand_in", Linear(1 + crc32(bytes(map(int, values))) % 1_000_000), net.input)
        return net.graph()


@pytest.mark.sweep(8)
@pytest.mark.parametrize("name", SAMPLERS)
def test_thousands_of_genes_are_searched(name: str) -> None:
    space = Long()

    hashes = tried(made(name, space, initial=4), space, usual, 7)

    assert len(set(hashes)) == 7


def failing(error: BaseException) -> Callable[[Graph], Mapping[str, float]]:
    def known(graph: Graph) -> Mapping[str, float]:
        raise error

    return known


@pytest.mark.parametrize(
    "error",
    [
        ValueError("what a user may cause"),
        np.linalg.LinAlgError("not positive definite"),
        FloatingPointError("overflow"),
        AssertionError("a slip of ours"),
        KeyError("a gene"),
        MemoryError("no room"),
        RuntimeError("whatever else"),
        RuntimeWarning("overflow in exp"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_evolution_goes_on_and_the_log_says_why(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = SurrogateSampler(TINY, TWO, seed=3, initial=6, known=failing(error))

    with caplog.at_level(logging.INFO, "nas.search"):
        hashes = tried(sampler, TINY, usual, 20)

    assert hashes == tried(ArchiveEvolutionSampler(TINY, TWO, seed=3, initial=6), TINY, usual, 20)
    assert "trials are left to evolution" in caplog.text
    assert str(error) in caplog.text


def test_an_interrupt_is_no_failure_to_go_on_from() -> None:
    sampler = SurrogateSampler(TINY, TWO, seed=3, initial=6, known=failing(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        tried(sampler, TINY, usual, 20)


def test_it_learns_again_once_nothing_fails_any_more() -> None:
    broken = [True]

    def known(graph: Graph) -> Mapping[str, float]:
        if broken[0]:
            raise RuntimeError("not yet")
        return graph_values(graph)

    sizes: list[int] = []

    class Watched(SurrogateSampler):
        def batch(self, trials: Sequence[FrozenTrial], size: int) -> tuple[Architecture, ...]:
            found = super().batch(trials, size)
            sizes.append(len(found))
            return found

    def told(number: int, graph: Graph) -> tuple[float, float]:
        broken[0] = number < 14
        return usual(number, graph)

    tried(Watched(TINY, TWO, seed=3, initial=6, known=known), TINY, told, 24)

    assert sizes[0] == 0
    assert any(sizes)
