"""Trainings are stopped by Pareto rank: what nothing beats goes on, and answers do not change."""

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.evaluation.early_stopping import Rungs, rung_epochs, survives
from nas.problem.metrics import METRICS, Metric
from nas.problem.pareto import non_dominated
from nas.problem.run_file import to_yaml
from nas.runs.folder import RunFolder, create_run
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny

ACCURACY, LATENCY, PARAMS = METRICS["accuracy"], METRICS["latency_ms"], METRICS["params"]
ONE, TWO, THREE = (ACCURACY,), (ACCURACY, LATENCY), (ACCURACY, LATENCY, PARAMS)
RULE = {"grace_epochs": 1, "reduction": 3}
Values = dict[str, float]
TABLES = Path(__file__).parents[3] / "../shared/data"
NB201 = TABLES / "nb201_accuracy.parquet", TABLES / "nb201_latency.parquet"


def scored(accuracy: float) -> Values:
    return {"accuracy": accuracy}


def at(accuracy: float, ms: float, params: float = 1.0) -> Values:
    return {"accuracy": accuracy, "latency_ms": ms, "params": params}


# Few distinct values, so that equals and ties happen.
networks = st.builds(
    at,
    st.integers(0, 6).map(lambda n: n / 6),
    st.integers(1, 6).map(float),
    st.integers(1, 4).map(float),
)
rungs_full = st.lists(networks, max_size=14)
objectives = st.sampled_from([ONE, TWO, THREE, (LATENCY, ACCURACY), (LATENCY, PARAMS)])
reductions = st.integers(2, 5)


def dominates(one: Values, other: Values, metrics: Sequence[Metric]) -> bool:
    ours = [metric.sign * one[metric.name] for metric in metrics]
    theirs = [metric.sign * other[metric.name] for metric in metrics]
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("epochs", "grace", "reduction", "expected"),
    [
        (27, 1, 3, (1, 3, 9)),
        (28, 1, 3, (1, 3, 9, 27)),
        (10, 2, 2, (2, 4, 8)),
        (8, 2, 2, (2, 4)),
        (3, 2, 4, (2,)),
        (2, 2, 3, ()),
        (1, 1, 3, ()),
    ],
)
def test_rungs_lie_before_the_last_epoch(
    epochs: int, grace: int, reduction: int, expected: tuple[int, ...]
) -> None:
    assert rung_epochs(epochs, grace, reduction) == expected


def test_the_first_to_reach_a_rung_go_on_however_bad_they_are() -> None:
    good = [at(0.9, 1.0)]

    assert survives(at(0.1, 9.0), good, TWO, reduction=3)
    assert not survives(at(0.1, 9.0), good * 2, TWO, reduction=3)


def test_a_fast_network_is_not_stopped_for_being_less_accurate() -> None:
    slow = [at(0.90 + n / 1000, 5.0 + n) for n in range(20)]
    fast, beaten = at(0.3, 1.0), at(0.3, 6.0)

    assert survives(fast, slow, TWO, reduction=3)
    assert not survives(fast, slow, ONE, reduction=3)
    assert not survives(beaten, slow, TWO, reduction=3)


def test_the_first_front_goes_on_even_where_it_is_more_than_its_share() -> None:
    front = [at(n / 10, float(n)) for n in range(1, 10)]

    for candidate in front:
        others = [other for other in front if other is not candidate]
        assert survives(candidate, others, TWO, reduction=5)


def test_behind_a_small_front_the_lonelier_of_the_next_one_goes_on() -> None:
    front = [at(0.9, 1.0)]
    # At one end of the second front, in the crowd, and across the gap that the crowd leaves.
    end, crowded, other_end = at(0.5, 2.0), at(0.52, 2.1), at(0.8, 9.0)
    crowd = [at(0.51, 2.05), at(0.53, 2.2), at(0.54, 2.3)]
    # 8 reached the rung: a third of them is 3.
    assert survives(end, [*front, *crowd, crowded, other_end, at(0.1, 9.9)], TWO, 3)
    assert survives(other_end, [*front, *crowd, crowded, end, at(0.1, 9.9)], TWO, 3)
    assert not survives(crowded, [*front, *crowd, end, other_end, at(0.1, 9.9)], TWO, 3)


def test_equals_are_not_ahead_of_each_other() -> None:
    others = [at(0.9, 1.0), *([at(0.5, 2.0)] * 7)]

    assert survives(at(0.5, 2.0), others, TWO, reduction=3)
    assert not survives(at(0.4, 2.0), others, TWO, reduction=3)


@given(networks, rungs_full, objectives, reductions)
def test_what_nothing_dominates_goes_on(
    candidate: Values, others: list[Values], metrics: tuple[Metric, ...], reduction: int
) -> None:
    if not any(dominates(other, candidate, metrics) for other in others):
        assert survives(candidate, others, metrics, reduction)


@given(networks, rungs_full, objectives, reductions)
def test_what_dominates_all_others_goes_on_and_what_all_dominate_does_not(
    candidate: Values, others: list[Values], metrics: tuple[Metric, ...], reduction: int
) -> None:
    best, worst = at(1.1, 0.5, 0.5), at(-0.1, 9.0, 9.0)

    assert survives(best, [*others, candidate], metrics, reduction)
    if len(others) + 2 >= reduction:
        assert not survives(worst, [*others, candidate, best], metrics, reduction)


@given(networks, rungs_full, objectives, reductions, st.randoms())
def test_the_order_of_the_others_does_not_matter(
    candidate: Values,
    others: list[Values],
    metrics: tuple[Metric, ...],
    reduction: int,
    rng: Any,  # noqa: ANN401  (hypothesis' own Random)
) -> None:
    shuffled = rng.sample(others, len(others))

    assert survives(candidate, shuffled, metrics, reduction) == survives(
        candidate, others, metrics, reduction
    )


@given(rungs_full.filter(bool), objectives, reductions)
def test_of_a_full_rung_at_least_its_share_goes_on(
    rung: list[Values], metrics: tuple[Metric, ...], reduction: int
) -> None:
    going_on = sum(
        survives(each, rung[:row] + rung[row + 1 :], metrics, reduction)
        for row, each in enumerate(rung)
    )

    assert going_on >= ceil(len(rung) / reduction)


@given(networks, rungs_full, st.sampled_from(THREE), reductions)
def test_with_one_objective_the_rule_is_that_of_asha(
    candidate: Values, others: list[Values], metric: Metric, reduction: int
) -> None:
    """The cutoff of Ray Tune's and Syne Tune's stopping: a quantile of all that reached it."""
    gains = [-metric.sign * each[metric.name] for each in (*others, candidate)]
    # Quantiles are interpolated in floats.
    passes = gains[-1] >= np.quantile(gains, 1 - 1 / reduction) - 1e-9

    expected = len(gains) < reduction or passes
    assert survives(candidate, others, (metric,), reduction) == expected


def rungs_in(folder: Path, stopping: Mapping[str, int] | None = None) -> Rungs:
    """The rungs of a new run of nine epochs, or of the one that is there."""
    file = tiny(training={"epochs": 9}, search={"early_stopping": stopping})
    run = RunFolder(folder / "tiny")
    if not run.path.exists():
        create_run(run.path, to_yaml(file))
    return Rungs(run, file.config())


def test_networks_are_only_asked_at_rungs(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path, RULE)
    for key in ("a", "b", "c"):
        assert rungs.may_go_on(key, {"macs": 10.0}, 1, scored(0.9))

    assert all(
        rungs.may_go_on("bad", {"macs": 99.0}, epoch, scored(0.1)) for epoch in (2, 4, 8, 9)
    )
    assert sorted(path.name for path in rungs.run.rungs.iterdir()) == [
        "a.json",
        "b.json",
        "c.json",
    ]
    assert not rungs.may_go_on("bad", {"macs": 99.0}, 1, scored(0.1))


def test_without_early_stopping_nothing_is_stopped_and_nothing_written(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path)

    for number in range(9):
        assert rungs.may_go_on(str(number), {"macs": float(number)}, 1, scored(1 - number / 10))
    assert not rungs.run.rungs.exists()


def test_each_rung_has_its_own_rivals_with_the_accuracy_of_its_epoch(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path, RULE)
    for key in ("a", "b", "c"):
        assert rungs.may_go_on(key, {"macs": 10.0}, 1, scored(0.2))
    assert rungs.may_go_on("late", {"macs": 20.0}, 1, scored(0.3))
    # Only two have reached epoch 3, where the late one is nothing special any more.
    assert rungs.may_go_on("a", {"macs": 10.0}, 3, scored(0.8))
    assert rungs.may_go_on("b", {"macs": 10.0}, 3, scored(0.8))
    assert not rungs.may_go_on("late", {"macs": 20.0}, 3, scored(0.7))


def test_what_was_decided_stays_decided_after_a_resume(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path, RULE)
    assert rungs.may_go_on("early", {"macs": 90.0}, 1, scored(0.1))
    for key in ("a", "b", "c", "d"):
        assert rungs.may_go_on(key, {"macs": 10.0}, 1, scored(0.9))
    assert not rungs.may_go_on("bad", {"macs": 99.0}, 1, scored(0.1))

    again = rungs_in(tmp_path, RULE)

    assert again.may_go_on("early", {"macs": 90.0}, 1, scored(0.1))
    assert not again.may_go_on("bad", {"macs": 99.0}, 1, scored(0.95))


def test_a_decision_that_was_interrupted_is_made_anew_and_counts_once(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path, RULE)
    assert rungs.may_go_on("a", {"macs": 10.0}, 1, scored(0.9))
    path = rungs.run.rungs / "a.json"
    data = json.loads(path.read_text())
    data["rungs"][0]["goes_on"] = None
    path.write_text(json.dumps(data))

    assert rungs.may_go_on("a", {"macs": 10.0}, 1, scored(0.9))
    assert [row["goes_on"] for row in json.loads(path.read_text())["rungs"]] == [True]
    assert rungs.may_go_on("second", {"macs": 99.0}, 1, scored(0.1))


def test_spared_networks_go_on_and_are_rivals_all_the_same(tmp_path: Path) -> None:
    kept = rungs_in(tmp_path, RULE)
    config = tiny(training={"epochs": 9}, search={"early_stopping": {}}).config()
    rungs = Rungs(kept.run, config, spared=["baseline"])
    for key in ("a", "b"):
        assert rungs.may_go_on(key, {"macs": 10.0}, 1, scored(0.9))

    assert rungs.may_go_on("baseline", {"macs": 99.0}, 1, scored(0.5))
    assert not rungs.may_go_on("other", {"macs": 99.0}, 1, scored(0.4))
    assert rungs.may_go_on("better", {"macs": 11.0}, 1, scored(0.91))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"rungs": 3}',
        '{"rungs": [{"epoch": 1}]}',
        '{"rungs": [{"epoch": 1, "values": [], "goes_on": true}]}',
        '{"rungs": [{"epoch": 1, "values": {"accuracy": 0.5}, "goes_on": true}]}',
        '{"rungs": [{"epoch": 1, "values": {"accuracy": "x", "macs": 1}, "goes_on": true}]}',
        '{"rungs": [{"epoch": 1, "values": {"accuracy": NaN, "macs": 1}, "goes_on": true}]}',
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    rungs = rungs_in(tmp_path, RULE)
    rungs.run.rungs.mkdir()
    (rungs.run.rungs / "other.json").write_text(content)

    with pytest.raises(
        UserError, match=r"rungs/other\.json is damaged \(.*\); delete it and go"
    ) as e:
        rungs.may_go_on("a", {"macs": 10.0}, 1, scored(0.9))
    assert len(str(e.value).splitlines()) == 1


def climb(folder: Path, name: str, count: int) -> list[str]:
    """Takes networks through two rungs; returns those that went on to the end."""
    rungs = rungs_in(folder, RULE)
    return [
        key
        for number in range(count)
        if all(
            rungs.may_go_on(
                key := f"{name}{number}", {"macs": 1.0 + number}, epoch, scored(number / 99)
            )
            for epoch in (1, 3)
        )
    ]


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    rungs = rungs_in(tmp_path, RULE)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(climb, tmp_path, name, 20) for name in ("x", "y")]
        going_on = [key for future in futures for key in future.result()]

    # Larger is better here and costs more, so that nothing dominates.
    expected = {f"{name}{number}" for name in ("x", "y") for number in range(20)}
    assert {path.stem for path in rungs.run.rungs.iterdir()} == expected == set(going_on)
    for path in rungs.run.rungs.iterdir():
        rows = json.loads(path.read_text())["rungs"]
        assert [(row["epoch"], row["goes_on"]) for row in rows] == [(1, True), (3, True)]


Rule = Callable[[Values, Sequence[Values]], bool]


def by_rank(candidate: Values, others: Sequence[Values]) -> bool:
    return survives(candidate, others, TWO, 3)


def by_accuracy(candidate: Values, others: Sequence[Values]) -> bool:
    return survives(candidate, others, ONE, 3)


def epochs_trained(
    curves: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rungs: Sequence[int],
    rule: Rule,
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Returns how long each network is trained, one after another; a row of curves each."""
    reached: dict[int, list[Values]] = {rung: [] for rung in rungs}
    trained = np.full(len(curves), curves.shape[1])
    for row, curve in enumerate(curves):
        for rung in rungs:
            values = at(float(curve[rung - 1]), float(ms[row]))
            goes_on = rule(values, reached[rung])
            reached[rung].append(values)
            if not goes_on:
                trained[row] = rung
                break
    return trained


def fast_half_of_front(
    accuracy: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    front = np.flatnonzero(non_dominated(np.stack([accuracy, ms], axis=1), TWO))
    return front[np.argsort(ms[front])][: len(front) // 2]


def test_the_fast_end_of_a_known_front_is_trained_in_full(
    record_property: Callable[[str, object], None],
) -> None:
    """Made-up learning curves: slower networks end up better, and take longer to."""
    rng = np.random.default_rng(0)
    ms = 10 ** rng.uniform(-1, 1, 200)
    best = 0.8 + 0.06 * np.log10(ms) - 0.1 * rng.exponential(size=200)
    pace = 3 + 0.5 * np.log10(ms) + rng.uniform(-0.1, 0.1, 200)
    epochs = np.arange(1, 28)
    curves = best[:, None] - 0.4 * np.exp(-epochs / pace[:, None])
    curves += rng.normal(0, 0.002, curves.shape)
    rungs = rung_epochs(27, 1, 3)
    fast = fast_half_of_front(curves[:, -1], ms)

    ranked = epochs_trained(curves, ms, rungs, by_rank)
    accurate = epochs_trained(curves, ms, rungs, by_accuracy)

    saved = {
        name: float(1 - t.mean() / 27) for name, t in (("rank", ranked), ("accuracy", accurate))
    }
    record_property("share of epochs saved", saved)
    assert (ranked[fast] == 27).all()
    assert (accurate[fast] == 27).mean() < 0.2
    assert saved["accuracy"] > saved["rank"] > 0.5


@pytest.mark.skipif(
    not all(path.exists() for path in NB201),
    reason="needs ../shared/data/nb201_accuracy.parquet and nb201_latency.parquet",
)
def test_the_fast_end_of_a_published_front_is_trained_in_full(
    record_property: Callable[[str, object], None],
) -> None:
    """NAS-Bench-201: the rung sees accuracies after 12 epochs, the front those after 200."""
    accuracy, latency = map(pd.read_parquet, NB201)
    shares = []
    for seed in range(5):
        rows = np.random.default_rng(seed).choice(len(accuracy), 300, replace=False)
        early = accuracy["cifar10_val_e12"].to_numpy(float)[rows]
        final = accuracy["cifar10_val_e200"].to_numpy(float)[rows]
        ms = latency["1080ti_1"].to_numpy(float)[rows]
        fast = fast_half_of_front(final, ms)
        curves = np.stack([early, final], axis=1)
        found = [epochs_trained(curves, ms, (1,), rule) == 2 for rule in (by_rank, by_accuracy)]
        shares.append([share for full in found for share in (full[fast].mean(), full.mean())])
    fast_kept, trained, fast_kept_by_accuracy, trained_by_accuracy = np.mean(shares, axis=0)

    shown = {"rank": float(trained), "accuracy": float(trained_by_accuracy)}
    record_property("trained in full", shown)
    assert fast_kept == 1
    assert fast_kept_by_accuracy < 0.4
    assert trained < trained_by_accuracy + 0.05
