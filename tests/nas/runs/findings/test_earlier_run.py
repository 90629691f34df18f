"""What is kept of an earlier run: bounded, read back as it was, and refused where damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.problem.metrics import METRICS
from nas.runs.evaluation import Evaluation, Status
from nas.runs.files import write_json
from nas.runs.findings.earlier_run import (
    MOST_GENES,
    MOST_TRIALS,
    EarlierRun,
    earlier_run,
    from_json,
    keep,
    kept,
    to_json,
)
from nas.runs.folder import RunFolder
from nas.study.results import TrialResult
from search_spaces.graphs.errors import UserError

TWO = (METRICS["accuracy"], METRICS["latency_ms"])


def trial(
    number: int,
    genes: dict[str, Any],
    values: dict[str, float],
    status: Status = "finished",
    epochs: int = 3,
) -> TrialResult:
    evaluation = Evaluation(f"h{number}", status, None, values, {}, epochs=epochs)
    return TrialResult(number, f"h{number}", None, genes, evaluation)


def several() -> EarlierRun:
    run = earlier_run(
        "runs/a",
        [
            trial(
                0, {"kind": "long", "width": 8}, {"accuracy": 0.5, "latency_ms": 2.0, "macs": 9}
            ),
            trial(
                1, {"kind": "wide", "ratio": 0.5}, {"latency_ms": 1.0, "macs": 7}, "infeasible", 0
            ),
            trial(2, {"kind": "long", "width": 16}, {"accuracy": 0.4, "latency_ms": 3.0}),
            trial(3, {"kind": "long", "width": 24}, {"accuracy": 0.2, "macs": 5}, "stopped", 1),
            trial(4, {}, {"accuracy": 0.9, "latency_ms": 0.1}),
        ],
        TWO,
    )
    assert run is not None
    return run


def test_what_is_known_of_each_trial_is_kept_but_no_accuracy_of_too_few_epochs() -> None:
    run = several()

    assert [run.genes(at) for at in range(4)] == [
        {"kind": "long", "width": 8},
        {"kind": "wide", "ratio": 0.5},
        {"kind": "long", "width": 16},
        {"kind": "long", "width": 24},
    ]
    assert run.values["accuracy"] == pytest.approx([0.5, np.nan, 0.4, np.nan], nan_ok=True)
    assert run.values["latency_ms"] == pytest.approx([2, 1, 3, np.nan], nan_ok=True)
    assert run.values["macs"] == pytest.approx([9, 7, np.nan, 5], nan_ok=True)
    assert run.front(TWO) == [0]
    assert run.front([METRICS["latency_ms"]]) == [1]
    assert run.front([METRICS["params"]]) == []


def test_it_is_read_back_as_it_was(tmp_path: Path) -> None:
    run, folder = several(), RunFolder(tmp_path)
    assert kept(folder) == ()

    keep(folder, [run])
    keep(folder, [])  # once it is there it stays
    (back,) = kept(folder)

    assert (back.name, back.choices) == (run.name, run.choices)
    assert (back.codes == run.codes).all()
    assert all(
        back.values[m] == pytest.approx(run.values[m], nan_ok=True)
        for m in {*run.values, *back.values}
    )


def test_of_many_trials_the_front_and_an_even_part_are_kept() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((900, 2))
    trials = [
        trial(at, {"gene": at % 7, "at": at}, {"accuracy": float(a), "latency_ms": float(b)})
        for at, (a, b) in enumerate(points)
    ]

    run = earlier_run("runs/a", trials, TWO)

    assert run is not None
    assert len(run.codes) == MOST_TRIALS
    whole = {
        (a, b) for a, b in points if not ((points > [a, -1]) & (points < [2, b])).all(1).any()
    }
    front = run.front(TWO)
    assert {(run.values["accuracy"][at], run.values["latency_ms"][at]) for at in front} == whole
    numbers = [int(run.genes(at)["at"]) for at in range(MOST_TRIALS)]
    assert numbers == sorted(set(numbers))
    assert max(np.diff(numbers)) < 8


def test_few_trials_are_kept_of_very_long_genes_and_the_file_stays_small(tmp_path: Path) -> None:
    trials = [
        trial(at, {f"gene{i}": (at + i) % 3 for i in range(2000)}, {"accuracy": at / 100})
        for at in range(100)
    ]

    run = earlier_run("runs/a", trials, TWO)

    assert run is not None
    assert run.codes.size <= MOST_GENES
    keep(RunFolder(tmp_path), [run])
    assert RunFolder(tmp_path).earlier_runs_file.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "other"}, "must be hwnas.earlier_runs version 1, got other 1"),
        ({"version": 2}, "got hwnas.earlier_runs 2"),
        ({"runs": 3}, "runs must be a list, got 3"),
        ({"runs": [{}]}, r"runs\[0\].name must be a text, got None"),
        ({"choices": {"kind": [["x"]]}}, r"runs\[0\].choices"),
        ({"codes": [[0, 1, 9]]}, r"runs\[0\].codes must have a place among its choices"),
        ({"codes": [[0, 1], [0]]}, r"runs\[0\].codes must have a place"),
        ({"codes": [[0.5, 1, 1]]}, r"runs\[0\].codes must have a place"),
        ({"codes": None}, r"runs\[0\].codes must have a place"),
        ({"codes": []}, r"runs\[0\].codes must have a place"),
        ({"values": {"beauty": []}}, r"runs\[0\].values has no metric 'beauty'"),
        ({"values": {"accuracy": [0.5]}}, r"runs\[0\].values must have one for each of 4 trials"),
        ({"values": {"accuracy": ["x"] * 4}}, r"runs\[0\].values\['accuracy'\]"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    data = json.loads(json.dumps(to_json([several()])))
    for key, value in change.items():
        (data if key in data else data["runs"][0])[key] = value
    write_json(RunFolder(tmp_path).earlier_runs_file, data)

    with pytest.raises(UserError, match=named):
        from_json(data)
    with pytest.raises(UserError, match=r"earlier_runs.json is damaged .*search anew") as found:
        kept(RunFolder(tmp_path))
    assert "\n" not in str(found.value)


def test_nothing_is_kept_of_trials_without_genes_or_values() -> None:
    assert earlier_run("runs/a", [trial(0, {}, {"accuracy": 1.0})], TWO) is None
    assert earlier_run("runs/a", [trial(0, {"gene": 1}, {})], TWO) is None
