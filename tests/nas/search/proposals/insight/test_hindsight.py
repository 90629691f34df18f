"""Trials are told by those before them alone, and the figures are those of slow, obvious code."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import spearmanr

from nas.problem.metrics import METRICS
from nas.problem.run_file import RunFile
from nas.search.proposals.insight.hindsight import (
    CUTS,
    blocks,
    hindsight,
    is_learned,
    of_nearest,
    spearman,
)
from nas.search.proposals.learning.beliefs import FULLY_TRAINED
from nas.study.results import RunResults
from tests.nas.parts.runs import make_run, run_file

COUNT = 50


def file(**changes: Any) -> RunFile:  # noqa: ANN401
    return run_file(objectives=("accuracy", "macs"), trials=COUNT, **changes)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return make_run(tmp_path_factory.mktemp("runs"), trials=COUNT, file=file())


def with_values(results: RunResults, change: dict[int, list[float]]) -> RunResults:
    """Returns results whose trials of these numbers were found to be otherwise."""

    def changed(trial: FrozenTrial) -> FrozenTrial:
        if trial.number not in change:
            return trial
        made = create_trial(
            values=change[trial.number],
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            constraints=trial.constraints,
        )
        made.number, made.datetime_complete = trial.number, trial.datetime_complete
        return made

    return replace(results, asked=tuple(map(changed, results.asked)))


def test_no_trial_is_told_by_what_came_of_it_or_later(results: RunResults) -> None:
    (before,) = hindsight(results)
    last = [start for start, _ in blocks(COUNT, 20)][-1]
    otherwise = {n: [0.1 + n / 1000, 1e9 + n] for n in range(last, COUNT)}

    (after,) = hindsight(with_values(results, otherwise))

    assert after.trials == before.trials == tuple(range(20, COUNT))
    assert after.told.tolist() == before.told.tolist()
    assert after.low.tolist() == before.low.tolist()
    assert after.found[:-1].tolist() != before.found[:-1].tolist()


def test_every_trial_after_the_first_is_told_once_in_few_blocks(results: RunResults) -> None:
    parts = blocks(COUNT, 20)

    assert len(parts) <= CUTS
    assert [n for start, end in parts for n in range(start, end)] == list(range(20, COUNT))
    assert [row.metric.name for row in hindsight(results)] == ["accuracy"]  # a graph tells MACs


def test_what_depends_on_the_genes_is_put_into_order(results: RunResults) -> None:
    costs = {trial.number: trial.evaluation.values["params"] for trial in results.trials}
    told = {n: [1 - cost / 1e5, cost] for n, cost in costs.items()}

    (row,) = hindsight(with_values(results, told))

    assert row.rank_correlation is not None
    assert row.nearest_rank_correlation is not None
    assert row.rank_correlation > max(0.7, row.nearest_rank_correlation + 0.2)
    assert row.rank_correlation == pytest.approx(spearmanr(row.told, row.found).statistic)
    assert row.within(2) >= row.within(1) > 0.3


def test_noise_is_foretold_by_nobody_but_the_doubts_are_right(results: RunResults) -> None:
    rng = np.random.default_rng(3)
    noise = {n: [float(rng.normal(0.5, 0.05)), 1.0 + n] for n in range(COUNT)}

    (row,) = hindsight(with_values(results, noise))

    assert abs(row.rank_correlation or 0.0) < 0.5
    assert 0.4 < row.within(1) < 0.95
    assert row.within(2) > 0.8


def test_trials_that_are_ever_farther_off_widen_the_doubts_of_those_after_them(
    results: RunResults,
) -> None:
    """Accuracies leap between two levels, by less than a thousandth in the first trials."""
    leaps = np.where(np.arange(COUNT) < 22, 0.001, 0.1) * (-1) ** np.arange(COUNT)
    (row,) = hindsight(with_values(results, {n: [0.5 + leaps[n], 1.0 + n] for n in range(COUNT)}))

    half = (row.high - row.low) / 2
    off = np.abs(row.found - row.told)

    assert row.distances == pytest.approx(off / half, rel=1e-6)
    assert row.times >= 1
    assert row.within(1) > 0.4


def test_trainings_that_were_stopped_early_are_not_held_against_it(results: RunResults) -> None:
    stopped = {31, 35}

    def changed(trial: FrozenTrial) -> FrozenTrial:
        if trial.number in stopped:
            trial = create_trial(
                values=trial.values,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs | {"epochs": 1},
                constraints={FULLY_TRAINED: 0.5},
            )
            trial.datetime_complete = results.asked[30].datetime_complete
        return trial

    asked = [changed(trial) for trial in results.asked]
    for number, trial in enumerate(asked):
        trial.number = number

    (row,) = hindsight(replace(results, asked=tuple(asked)))

    assert not stopped & set(row.trials)


def test_too_few_trials_or_a_constant_say_nothing(results: RunResults) -> None:
    assert hindsight(replace(results, asked=())) == ()
    assert hindsight(replace(results, asked=results.asked[:23])) == ()
    same = {n: [0.5, 1.0 + n] for n in range(COUNT)}
    assert hindsight(with_values(results, same)) == ()


def test_a_latency_is_told_unless_a_model_predicts_it() -> None:
    latency = METRICS["latency_ms"]
    names = ("accuracy", "latency_ms")

    assert is_learned(latency, run_file(objectives=names).config())
    predicted = run_file(objectives=names, latency={"source": "predicted"}).config()
    assert not is_learned(latency, predicted)
    assert not is_learned(METRICS["macs"], predicted)


def test_the_nearest_has_most_genes_alike() -> None:
    before = np.array([[1.0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    found = np.array([[1.0], [2.0], [np.nan]])

    told = of_nearest(np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [0, 1, 1, 0]]), before, found)

    assert told.tolist() == [[1.0], [2.0], [1.0]]
    assert np.isnan(of_nearest(before, before, np.full((3, 1), np.nan))).all()


@pytest.mark.parametrize("seed", range(5))
def test_ranks_correlate_as_in_scipy(seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(0, 6, size=(2, 30)).astype(float)

    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(one, np.zeros(30)) is None
    assert spearman(one[:4], other[:4]) is None


def test_a_run_of_another_kind_of_sampler_is_told_too(tmp_path: Path) -> None:
    """Trials under way, and architectures from outside the space, teach nothing and do no harm."""
    results = make_run(tmp_path, trials=30, file=file())
    running = create_trial(state=TrialState.RUNNING)
    outside = create_trial(values=[0.9, 5.0], user_attrs={"hash": "x"})

    (row,) = hindsight(replace(results, asked=(*results.asked, running, outside)))

    assert row.trials == tuple(range(20, 30))
