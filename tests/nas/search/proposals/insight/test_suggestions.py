"""What is suggested is new, of the space, within bounds, and told as the surrogate believes it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.evaluation.free_rules import graph_values
from nas.problem.pareto import hypervolume, non_dominated
from nas.runs.evaluation import Evaluation
from nas.search.proposals.insight.draws import drawn_values
from nas.search.proposals.insight.hindsight import hindsight
from nas.search.proposals.insight.learned_run import (
    LEAST,
    LearnedRun,
    NothingLearnedError,
    space_of,
)
from nas.search.proposals.insight.outlook import DRAWS, gains_of, outlook, outlook_check
from nas.search.proposals.insight.suggestions import (
    GeneChange,
    changes_from,
    flat_row,
    suggested,
    suggestions_json,
)
from nas.study.names import ENQUEUED, HASH
from nas.study.results import RunResults
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import restore
from tests.nas.parts.runs import make_run, run_file

MACS = 130_000  # a bound that most keep


def file(**changes: Any) -> Any:  # noqa: ANN401
    given = {"constraints": [f"macs <= {MACS}"], "objectives": ("accuracy", "macs")}
    return run_file(**(given | changes))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    found = make_run(tmp_path_factory.mktemp("runs"), trials=36, file=file())
    assert 0 < len(found.infeasible) < 18
    return found


@pytest.fixture(scope="module")
def learned(results: RunResults) -> LearnedRun:
    return LearnedRun.of(results)


def test_suggestions_are_new_networks_of_the_space_that_keep_what_is_free_to_know(
    learned: LearnedRun, results: RunResults
) -> None:
    found = suggested(learned, 10)

    hashes = [each.hash for each in found]
    assert len(set(hashes)) == len(found) == 10
    assert not set(hashes) & {trial.hash for trial in results.trials}
    space = space_of(results)
    for each in found:
        assert restore(space, dict(each.architecture.genes)) == each.architecture
        values = graph_values(each.architecture.graph)
        assert (each.macs, each.params) == (values["macs"], values["params"])
        assert each.macs <= MACS
        accuracy, macs = each.beliefs
        assert macs.is_exact
        assert macs.value == pytest.approx(each.macs)  # a graph tells it
        assert accuracy.low < accuracy.value < accuracy.high <= 1
        assert 0 <= each.joins <= each.keeps <= 1


def test_the_same_run_is_suggested_the_same_and_fewer_are_the_first_of_many(
    learned: LearnedRun, results: RunResults
) -> None:
    again = suggested(LearnedRun.of(results), 10)

    assert [each.hash for each in again] == [each.hash for each in suggested(learned, 10)]
    assert len(suggested(learned, 3)) == 3


def test_many_are_chosen_together_where_graphs_tell_an_objective(learned: LearnedRun) -> None:
    found = suggested(learned, 40)

    assert 20 < len({each.hash for each in found}) == len(found), len(found)
    assert all(0 < each.beliefs[0].high - each.beliefs[0].low < 1 for each in found)


def test_doubts_are_as_wide_as_hindsight_says_and_the_networks_are_the_same(
    learned: LearnedRun, results: RunResults
) -> None:
    (row,) = hindsight(results)
    wide = replace(row, times=3.0)

    raw, shown = suggested(learned, 5), suggested(learned, 5, (wide,))

    assert [each.hash for each in shown] == [each.hash for each in raw]
    assert [each.joins for each in shown] == [each.joins for each in raw]
    for before, after in zip(raw, shown, strict=True):
        accuracy, widened = before.beliefs[0], after.beliefs[0]
        assert widened.value == accuracy.value
        assert widened.low == pytest.approx(max(0, 3 * accuracy.low - 2 * accuracy.value))
        assert after.beliefs[1] == before.beliefs[1]  # a graph tells it


def test_what_differs_is_told_against_the_nearest_of_the_front(
    learned: LearnedRun, results: RunResults
) -> None:
    for each in suggested(learned, 5):
        genes = dict(each.architecture.genes)
        differing = {
            trial.number: sum(
                trial.genes.get(name) != genes.get(name) for name in {*trial.genes, *genes}
            )
            for trial in results.front
        }
        assert len(each.changes) == differing[each.nearest.number] == min(differing.values())
        remade = dict(each.nearest.genes)
        for change in each.changes:
            assert remade.get(change.gene) == change.before
            remade.pop(change.gene, None)
            if change.after is not None:
                remade[change.gene] = change.after
        assert remade == genes


def test_genes_that_are_new_or_gone_are_changes_too() -> None:
    before: dict[str, Value] = {"depth": 2, "b.width": 8, "c.width": 4}
    after: dict[str, Value] = {"depth": 1, "b.width": 8, "d": "x"}

    assert changes_from(before, after) == (
        GeneChange("depth", 2, 1),
        GeneChange("d", None, "x"),
        GeneChange("c.width", 4, None),
    )


def test_what_is_queued_is_not_suggested(learned: LearnedRun, results: RunResults) -> None:
    first = suggested(learned, 1)[0]
    waiting = create_trial(state=TrialState.WAITING, user_attrs={ENQUEUED: first.hash})

    found = suggested(LearnedRun.of(replace(results, asked=(*results.asked, waiting))), 10)

    assert first.hash not in {each.hash for each in found}


def test_chances_to_join_the_front_are_those_of_the_draws(
    learned: LearnedRun, results: RunResults
) -> None:
    networks = learned.untried(6)
    drawn, kept = drawn_values(learned.planner, networks, 50, np.random.default_rng(0))
    front = results.points(results.front)

    joined = [
        bool(non_dominated(np.vstack([front, one]), results.metrics)[-1])
        for one in drawn.reshape(-1, 2)
    ]

    assert drawn.shape == (50, 6, 2)
    assert kept.all()  # the bound is free, and the networks keep it
    share = np.reshape(joined, (50, 6)).mean(axis=0)
    told = [each.joins for each in suggested(learned, 6)]
    assert told == pytest.approx(share.tolist(), abs=0.25)


def test_draws_have_the_mean_and_the_doubt_that_are_told(learned: LearnedRun) -> None:
    networks = learned.untried(4)
    means, spread = learned.believed(networks)

    drawn, _ = drawn_values(learned.planner, networks, 4000, np.random.default_rng(0))

    accuracy, middle = drawn[:, :, 0], -means[:, 0]
    low, median, high = np.quantile(accuracy, (0.1587, 0.5, 0.8413), axis=0)
    assert median == pytest.approx(middle, abs=4 * spread[:, 0].max() / 60)
    assert (high - low) / 2 == pytest.approx(spread[:, 0], rel=0.1)
    assert np.ptp(drawn[:, :, 1], axis=0).max() == 0  # a graph tells it


def test_an_outlook_is_the_hypervolume_that_draws_add(
    learned: LearnedRun, results: RunResults
) -> None:
    networks = learned.untried(20)
    drawn, kept = drawn_values(learned.planner, networks, DRAWS, np.random.default_rng(0))
    front, corner = results.points(results.front), results.reference
    present = hypervolume(front, corner, results.metrics)
    grown = [
        hypervolume(np.vstack([front, *(one[which])]), corner, results.metrics)
        for one, which in zip(drawn, kept, strict=True)
    ]

    told = outlook(results)

    assert told.gain == pytest.approx(np.mean(grown) / present - 1)
    assert 0 <= told.low <= told.gain <= told.high
    assert 0 < told.chance <= 1
    assert (told.next, told.trials) == (len(networks), 36)
    assert gains_of(learned.planner, networks[:5], front, corner).mean() <= told.gain


def test_an_outlook_is_held_against_what_the_last_trials_brought(results: RunResults) -> None:
    check = outlook_check(results)

    assert check is not None
    before = replace(results, trials=results.trials[:-20], asked=results.asked[:-20])
    assert (check.trials, check.told) == (20, outlook(before).gain)
    was, now = (
        hypervolume(each.points(each.feasible), before.reference, results.metrics)
        for each in (before, results)
    )
    assert check.found == pytest.approx(now / was - 1)
    assert outlook_check(before) is None  # too few trials before its last 20


def test_json_and_rows_have_all_of_it(learned: LearnedRun, results: RunResults) -> None:
    found = suggested(learned, 3)

    data = suggestions_json(results, found, learned.trials)

    assert (data["format"], data["trials"]) == ("hwnas.suggestions", 36)
    first, row = data["suggestions"][0], flat_row(found[0])
    assert first["genes"] == dict(found[0].architecture.genes)
    assert first["expected"]["macs"]["exact"] is True
    assert first["expected"]["accuracy"]["value"] == row["accuracy"]
    assert row["macs"] == pytest.approx(found[0].macs)
    assert {f"gene.{name}": value for name, value in found[0].architecture.genes}.items() <= (
        row.items()
    )


def test_too_few_trials_are_one_line(results: RunResults) -> None:
    few = replace(results, asked=results.asked[: LEAST - 1])
    for asked in (few, replace(results, asked=(), trials=())):
        with pytest.raises(NothingLearnedError, match=r"it takes 10 finished trials of the space"):
            LearnedRun.of(asked)


def test_trials_that_all_are_the_same_are_one_line(results: RunResults) -> None:
    def flat(trial: FrozenTrial) -> FrozenTrial:
        made = create_trial(
            values=[0.5, trial.values[1]],
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
        )
        made.number = trial.number
        return made

    same = replace(results, asked=tuple(map(flat, results.asked)))
    with pytest.raises(NothingLearnedError, match=r"teach nothing of others: accuracy is"):
        LearnedRun.of(same)


@pytest.mark.parametrize("widths", [[8, 16], [8, 16, 24, 32]])
def test_a_space_that_was_tried_whole_has_nothing_left(tmp_path: Path, widths: list[int]) -> None:
    stage = {"depth": 1, "width": widths, "stride": 2, "blocks": ["depthwise_separable"]}
    space = {"resolution": 8, "stem": {"width": [8, 16]}, "stages": [stage]}
    results = make_run(tmp_path, file=file(space=space, constraints=[]), trials=100)

    assert len(results.trials) == 4 * len(widths)
    with pytest.raises(NothingLearnedError, match="all architectures of the space were tried"):
        LearnedRun.of(results).untried(5)


def test_where_nothing_is_feasible_the_nearest_to_it_is_bred_from(tmp_path: Path) -> None:
    results = make_run(
        tmp_path, file=file(constraints=["accuracy >= 0.9999"]), trials=20, edit=bad
    )

    found = suggested(LearnedRun.of(results), 3)

    assert results.front == ()
    assert all(each.joins <= each.keeps < 0.5 for each in found)
    with pytest.raises(NothingLearnedError, match="nothing feasible was found yet"):
        outlook(results)


def bad(number: int, evaluation: Evaluation) -> Evaluation:
    """Accuracies that all break a bound, by more or less."""
    excess = {"accuracy >= 0.9999": 0.9999 - evaluation.values["accuracy"]}
    return replace(evaluation, status="infeasible", reason="not accurate", violations=excess)


def test_a_front_of_one_network_has_no_outlook_yet(tmp_path: Path) -> None:
    def alone(number: int, evaluation: Evaluation) -> Evaluation:
        values = dict(evaluation.values) | {"accuracy": 0.5 + number / 100, "macs": 1e6 - number}
        return replace(evaluation, values=values)

    results = make_run(
        tmp_path, file=file(reference={"accuracy": 0.99, "macs": 1e7}, constraints=[]), edit=alone
    )

    with pytest.raises(NothingLearnedError, match="the front has no hypervolume yet"):
        outlook(results)


def test_a_device_without_its_latency_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_PROFILES", str(tmp_path / "profiles"))
    results = make_run(tmp_path, file=run_file(latency={"source": "predicted"}), trials=12)

    with pytest.raises(UserError, match=r"has no latency model; make one with"):
        LearnedRun.of(results)


def test_hashes_of_trials_are_those_of_their_networks(results: RunResults) -> None:
    """What is new is told by hashes; they are of the space for the images of the run."""
    space = space_of(results)
    for trial in results.asked[:5]:
        network = restore(space, trial.params)
        assert graph_hash(network.graph) == trial.user_attrs[HASH]


def test_more_objectives_are_looked_ahead_less_far(tmp_path: Path) -> None:
    three = make_run(
        tmp_path, file=run_file(objectives=("accuracy", "macs", "params"), trials=20), trials=20
    )

    told, check = outlook(three), outlook_check(three)

    assert told.next <= 5
    assert told.gain > 0
    assert check is not None
    assert check.trials == 5
