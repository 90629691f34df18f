"""What counts as an architecture that brought nothing, and when a search has had enough."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError

from nas.problem.pareto import hypervolume
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile
from nas.problem.validation import explain
from nas.runs.evaluation import Evaluation
from nas.study.gains import ended_architectures, why_enough, without_gain
from nas.study.names import BASELINE, HASH
from nas.study.results import load_results
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import make_run, run_file
from tests.nas.parts.tiny import tiny

START = datetime(2026, 1, 1)
CONFIG = tiny(reference={"accuracy": 0.0, "macs": 100.0}).config()


def ended(
    *values: float,
    after: float,
    key: str = "",
    rules: dict[str, float] | None = None,
    baseline: str | None = None,
) -> FrozenTrial:
    """A trial that ended after so many seconds; its architecture is as its values, or ``key``."""
    given = {} if baseline is None else {BASELINE: baseline}
    trial = create_trial(
        values=list(values), constraints=rules or {}, user_attrs={HASH: key or f"{values}"} | given
    )
    trial.number = int(after)
    trial.datetime_complete = START + timedelta(seconds=after)
    return trial


def stopping(count: int, **changes: Any) -> RunConfig:  # noqa: ANN401
    search = {"trials": 54, "initial": 4, "stop": {"no_gain_in": count}}
    return tiny(search=search, **changes).config()


def test_architectures_count_that_ended_after_the_last_gain() -> None:
    trials = [ended(0.5, 50, after=0), ended(0.4, 60, after=1), ended(0.6, 70, after=2)]
    trials += [ended(0.6, 71, after=3), ended(0.5, 51, after=4)]

    assert [without_gain(CONFIG, trials[: n + 1]) for n in range(5)] == [0, 1, 0, 1, 2]


def test_those_that_break_a_rule_or_were_stopped_early_count_too() -> None:
    trials = [ended(0.5, 50, after=0), ended(0.9, 10, after=1, rules={"macs <= 5": 1.0})]
    trials += [ended(0.9, 9, after=2, rules={"macs <= 5": -0.5, "fully trained": 0.5})]

    assert without_gain(CONFIG, trials) == 2


def test_baselines_and_repeats_do_not_count_but_a_baseline_may_be_the_gain() -> None:
    trials = [ended(0.5, 50, after=0), ended(0.4, 60, after=1)]
    trials += [ended(0.4, 61, after=2, baseline="lenet"), ended(0.5, 50, after=3)]
    assert without_gain(CONFIG, trials) == 1

    assert without_gain(CONFIG, [*trials, ended(0.8, 80, after=4, baseline="vgg")]) == 0


def test_nothing_counts_before_something_is_feasible() -> None:
    broken = [ended(0.5, n, after=n, rules={"macs <= 5": 1.0}) for n in range(5)]

    assert without_gain(CONFIG, []) is None
    assert without_gain(CONFIG, broken) is None
    assert why_enough(stopping(3), broken) == ""
    assert without_gain(CONFIG, [*broken, ended(0.5, 200, after=9)]) == 0


def test_the_order_is_that_in_which_they_ended_and_not_that_of_their_numbers() -> None:
    slow, *quick = (ended(0.5 - n / 10, 50 + n, after=9 - n) for n in range(4))
    trials = [slow, *quick]
    for number, trial in enumerate(trials):
        trial.number = number

    assert [trial.number for trial in ended_architectures(trials)] == [3, 2, 1, 0]
    assert without_gain(CONFIG, trials) == 0


def test_trials_that_are_not_finished_are_no_ends() -> None:
    running = create_trial(state=TrialState.RUNNING)

    assert without_gain(CONFIG, [ended(0.5, 50, after=0), running]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_what_hypervolumes_say_one_by_one(seed: int) -> None:
    config = tiny().config()  # up to the worst values found, whatever came last
    rng = np.random.default_rng(seed)
    drawn = rng.integers(1, 9, size=(30, 2)).astype(float)
    trials = [ended(*row, after=n, key=f"{n}") for n, row in enumerate(drawn)]
    corner = (drawn[:, 0].min(), drawn[:, 1].max())

    sizes = [hypervolume(drawn[: n + 1], corner, config.objectives) for n in range(30)]

    last = max(n for n in range(30) if sizes[n] > (sizes[n - 1] if n else 0))
    assert without_gain(config, trials) == 29 - last


def test_enough_says_why_and_how_to_go_on() -> None:
    trials = [ended(0.5, 50, after=0), *(ended(0.4, 60 + n, after=1 + n) for n in range(3))]

    assert why_enough(CONFIG, trials) == ""
    assert why_enough(stopping(4), trials) == ""
    assert why_enough(stopping(3), trials) == (
        "the hypervolume has not grown in the last 3 architectures (search.stop.no_gain_in is 3); "
        "to go on: --resume --set search.stop=null, or a larger no_gain_in"
    )


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ({"no_gain_in": 0}, r"search.stop: stop.no_gain_in must be at least 1, got 0"),
        ({}, r"search.stop.no_gain_in is missing; add it"),
        ({"no_gain_in": 3, "of": 4}, r"unknown key 'of' in search.stop"),
        (30, r"search.stop"),
    ],
)
def test_a_rule_that_is_none_is_refused(stop: object, reason: str) -> None:
    with pytest.raises((ValidationError, UserError)) as caught:
        tiny(search={"stop": stop})
    error = caught.value
    lines = explain(error, RunFile) if isinstance(error, ValidationError) else [str(error)]
    assert any(reason in line for line in lines), lines


def test_a_run_that_is_read_back_says_that_it_has_ended(tmp_path: Path) -> None:
    worse = {"accuracy": 0.1, "latency_ms": 9.0}
    file = run_file(trials=99, search={"trials": 99, "stop": {"no_gain_in": 5}})

    def soon_worse(number: int, evaluation: Evaluation) -> Evaluation:
        if number < 3:
            return evaluation
        return replace(evaluation, values=dict(evaluation.values) | worse)

    results = make_run(tmp_path, file=file, trials=8, edit=soon_worse)

    assert results.without_gain is not None
    assert results.without_gain >= 5
    assert results.ending.startswith("the hypervolume has not grown in the last ")
    assert results.is_over
    assert load_results(results.run.path) == results
