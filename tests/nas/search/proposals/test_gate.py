"""Whatever the sampler: what makes no network or breaks a free rule is never proposed."""

from dataclasses import dataclass
from random import Random

import optuna
import pytest

from nas.evaluation.free_rules import FreeRules, Judgement
from nas.problem.metrics import METRICS
from nas.problem.records import SAMPLERS, RunConfig
from nas.search.proposals.gate import Gate, NothingToProposeError, SpaceUsedUpError
from nas.search.proposals.left_over import LeftOver
from nas.search.proposals.samplers import make_sampler
from nas.search.proposals.sieve import Sieve
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import decide
from tests.nas.parts.latencies import MacsModel
from tests.nas.parts.tiny import tiny

TWO = (METRICS["accuracy"], METRICS["macs"])


@dataclass(frozen=True)
class Columns:
    """Convolutions of 1 to 16 channels; two odd widths in a row make no network.

    The widest come first, so a walk in order begins with what costs most.
    """

    layers: int = 3
    name: str = "columns"

    def network(self, pick: Pick) -> Graph:
        net = GraphBuilder((1, 4, 4))
        x, before = net.input, 0
        for index in range(self.layers):
            width = int(pick(Choice(f"layer{index}.width", tuple(range(16, 0, -1)))))
            if before % 2 and width % 2:
                raise UserError(f"widths {before} and {width} are both odd")
            before = width
            x = net.add(f"layer{index}", Conv2d(width), x)
        net.add("classifier", Linear(2), net.add("pool", GlobalAvgPool(), x))
        return net.graph()


def params(graph: Graph) -> int:
    return network_cost(graph).params


def at_most(limit: int) -> Gate:
    def judge(graph: Graph) -> Judgement:
        past = params(graph) - limit
        rule = f"params <= {limit}"
        return Judgement({rule: past / limit}, f"{rule} by {past}") if past > 0 else Judgement()

    return Gate(judge)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def study_of(sampler: str, space: Columns, gate: Gate) -> optuna.Study:
    made = make_sampler(sampler, space, TWO, seed=0, initial=5, gate=gate)
    return optuna.create_study(sampler=made, directions=["maximize", "minimize"])


def step(study: optuna.Study, space: Columns) -> Graph:
    trial = study.ask()
    try:
        graph = decide(space, suggest(trial)).graph
    except NothingToProposeError:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    trial.set_user_attr(HASH, graph_hash(graph))
    study.tell(trial, [0.5, params(graph)])
    return graph


def every(space: Columns, gate: Gate) -> list[Graph]:
    graphs = []
    for code in range(16**space.layers):
        widths = iter([code // 16**n % 16 + 1 for n in range(space.layers)])
        drawn = gate.draw(lambda: decide(space, lambda choice: next(widths)))  # noqa: B023
        if drawn is not None and drawn.excess <= 0:
            graphs.append(drawn.architecture.graph)
    return graphs


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_is_a_network_that_keeps_the_rules(sampler: str) -> None:
    space, all_of_them = Columns(), sorted(map(params, every(Columns(), Gate())))
    limit = all_of_them[len(all_of_them) // 100]  # one in a hundred keeps it
    gate = at_most(limit)
    study = study_of(sampler, space, gate)

    found = [params(step(study, space)) for _ in range(15)]

    assert max(found) <= limit
    assert gate.refused[f"params <= {limit}"] > 0
    assert gate.closest is not None
    assert gate.closest.excess > 0


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_bound_that_nothing_keeps_ends_soon_and_names_the_closest(sampler: str) -> None:
    gate = at_most(1)
    drawn: list[int] = []

    def counted(graph: Graph) -> Judgement:
        drawn.append(params(graph))
        return at_most(1).judge(graph)

    gate.judge = counted
    study = study_of(sampler, Columns(layers=5), gate)

    with pytest.raises(NothingToProposeError, match=r"none of .*the closest: params <= 1 by \d+"):
        step(study, Columns(layers=5))

    assert len(drawn) < 4000
    assert f"params <= 1 by {min(drawn) - 1})" in LeftOver(Columns(), gate).not_found()


def test_a_sampler_that_is_left_alone_finds_all_that_there_is() -> None:
    space, gate = Columns(layers=1), Gate()
    study = study_of("tpe", space, gate)
    assert isinstance(study.sampler, Sieve)
    study.sampler.only_new = True

    hashes = {graph_hash(step(study, space)) for _ in range(16)}

    assert len(hashes) == 16
    with pytest.raises(SpaceUsedUpError, match="space 'columns' has no more architectures"):
        step(study, space)


def test_a_climb_finds_what_one_in_ten_thousand_draws_would() -> None:
    limit = 40
    gate = at_most(limit)
    left_over = LeftOver(Columns(layers=5), gate)

    found = left_over.find(lambda architecture: True, Random(0))

    assert params(found.graph) <= limit
    assert sum(gate.refused.values()) < 1500


def test_what_makes_no_network_is_counted_with_its_reason() -> None:
    gate = Gate()

    assert gate.draw(lambda: decide(Columns(), lambda choice: 15)) is None
    assert gate.in_one_line() == "1 make no network (widths 15 and 15 are both odd)"
    assert gate.nearest() == "they make no network: widths 15 and 15 are both odd"


def config_of(**changes: object) -> RunConfig:
    return tiny(**changes).config()


GRAPH = decide(Columns(), lambda choice: 16).graph
MACS = network_cost(GRAPH).macs


def test_bounds_on_costs_are_free_and_those_on_accuracy_are_not() -> None:
    rules = FreeRules(config_of(constraints=[f"macs <= {MACS - 1}", "accuracy >= 0.9"]))

    assert rules.judge(GRAPH).reason == f"macs <= {MACS - 1} is violated by 1 ({MACS})"
    assert FreeRules(config_of(constraints=["accuracy >= 0.9"])).judge(GRAPH) == Judgement()


@pytest.mark.parametrize(("source", "is_free"), [("predicted", True), ("hybrid", False)])
def test_a_latency_is_free_where_it_is_never_measured(source: str, is_free: bool) -> None:
    config = config_of(
        constraints=["latency_ms <= 1e-6"], latency={"source": source, "confidence": 0.9}
    )

    judgement = FreeRules(config, MacsModel()).judge(GRAPH)

    assert bool(judgement.broken) == is_free
    unknown = FreeRules(config, MacsModel(unknown=lambda graph: True)).judge(GRAPH)
    assert unknown == Judgement()  # its evaluation says which kernel nobody timed
