"""Predicted latencies: what they decide, what is measured instead, what is measured in the end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.latency import (
    Interval,
    Latency,
    MeasurementError,
    NotProfiledError,
    probability_within,
)
from latency_models.prediction.model import LatencyModel
from nas.cli import app
from nas.evaluation.feasibility import (
    excess,
    is_uncertain,
    latency_rules,
    probability_kept,
    why_infeasible,
)
from nas.evaluation.instruments import Instruments
from nas.evaluation.latency import Finding, Hybrid, LearningModel, Measured, Predicted
from nas.problem import yaml_text
from nas.problem.metrics import parse_constraint
from nas.problem.pareto import non_dominated
from nas.problem.run_file import RunFile, read_run_file, to_yaml
from nas.problem.search_problem import space_for
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.findings.front import front_json
from nas.runs.findings.prediction_quality import in_one_line, latency_quality
from nas.runs.folder import RunFolder, create_run
from nas.search.final_front import measure_front
from nas.search.loop import Progress
from nas.search.proposals.dominated_genes import why_not
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, sample
from tests.nas.parts.latencies import (
    MacsModel,
    Stopwatch,
    fresh_model,
    fresh_stopwatch,
    instruments,
    measured,
    predicted,
    true_ms,
)
from tests.nas.parts.profiles import kernel_ms, make_profile
from tests.nas.parts.runs import baseline, make_run, run_file
from tests.nas.parts.tiny import SPACE, tiny

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits_hybrid.yaml"
LIMIT = parse_constraint("latency_ms <= 2")
BUDGET_MS = 0.012
TWO = Latency(2.0, 0.1, "predicted", interval=Interval(1.6, 2.4, 0.9))


def searching(source: str, **changes: Any) -> RunFile:  # noqa: ANN401
    given: dict[str, Any] = {
        "objectives": ["accuracy", "latency_ms"],
        "constraints": [f"latency_ms <= {BUDGET_MS}"],
        "latency": {"source": source},
        "search": {"trials": 12},
    }
    return tiny(**given | changes)


# What a constraint makes of a prediction


@pytest.mark.parametrize(
    ("limit", "confidence", "kept", "uncertain"),
    [
        (2.4, 0.9, True, False),  # 95 %
        (2.4, 0.94, True, False),
        (2.4, 0.96, False, True),
        (2.0, 0.5, True, False),  # an even chance
        (2.0, 0.51, False, True),
        (2.0, 0.9, False, True),
        (1.6, 0.9, False, False),  # 5 %
        (1.6, 0.96, False, True),
        (-1.0, 0.9, False, False),
    ],
)
def test_a_prediction_keeps_a_budget_with_enough_confidence_or_not(
    limit: float, confidence: float, kept: bool, uncertain: bool
) -> None:
    rule = replace(LIMIT, limit=limit)

    assert (excess(rule, TWO, confidence) <= 0) is kept
    assert is_uncertain(rule, TWO, confidence) is uncertain
    assert kept is (probability_within(TWO, limit) >= confidence)


def test_a_lower_bound_on_latency_is_kept_by_the_other_side() -> None:
    rule = parse_constraint("latency_ms >= 1.6")

    assert probability_kept(rule, TWO) == pytest.approx(0.95)
    assert excess(rule, TWO, 0.9) <= 0
    assert excess(replace(rule, limit=4.0), TWO, 0.9) == pytest.approx(0.9)


def test_how_far_a_prediction_is_past_the_limit_counts() -> None:
    assert excess(LIMIT, predicted(4.0), 0.9) == pytest.approx(1.0)
    assert excess(LIMIT, predicted(8.0), 0.9) == pytest.approx(3.0)
    assert excess(LIMIT, TWO, 0.9) == pytest.approx(0.4)


def test_a_measured_latency_keeps_a_budget_or_does_not() -> None:
    assert excess(LIMIT, measured(2.0), 0.9) == 0
    assert excess(LIMIT, measured(2.2), 0.9) == pytest.approx(0.1)
    assert not is_uncertain(LIMIT, measured(2.0), 0.9)


def test_the_reason_names_the_probability() -> None:
    config = run_file(constraints=["latency_ms <= 2", "macs <= 10"]).config()

    assert why_infeasible(config, {"latency_ms": 2.0, "macs": 20.0}, TWO) == (
        "latency_ms <= 2 holds with probability 0.50, predicted 2 ms; it must with 0.9; "
        "macs <= 10 is violated by 10 (20)"
    )
    assert why_infeasible(config, {"macs": 9.0}, None) is None


# Sources, asked about one candidate


NETWORK, LARGER = baseline("network", 8), baseline("larger", 16)
MACS_MS = MacsModel().latency(NETWORK.graph).median_ms


def run_of(folder: Path, **changes: Any) -> tuple[RunFile, RunFolder]:  # noqa: ANN401
    file = searching("hybrid", **changes)
    return file, create_run(folder / file.name, to_yaml(file))


def hybrid(
    folder: Path, model: MacsModel, stopwatch: Stopwatch, budget_ms: float | None = None
) -> Hybrid:
    rules = [] if budget_ms is None else [f"latency_ms <= {budget_ms}"]
    file, run = run_of(folder, constraints=rules)
    return Hybrid(file.config(), run, stopwatch, model, first=0)


def put(run: RunFolder, architecture: Architecture, **changes: Any) -> Evaluation:  # noqa: ANN401
    """Files a finished evaluation."""
    values = {"accuracy": 0.9, "latency_ms": true_ms(architecture.graph)} | changes
    latency = measured(values["latency_ms"])
    found = Evaluation(graph_hash(architecture.graph), "finished", None, values, {}, latency)
    run.save_evaluation(architecture, found, None)
    return found


def test_the_first_candidates_are_measured_whatever_is_predicted(tmp_path: Path) -> None:
    file, run = run_of(tmp_path)
    source = Hybrid(file.config(), run, Stopwatch(), MacsModel(), first=1)

    assert source.before_training(LARGER.graph).latency.source == "measured"
    put(run, LARGER)

    assert source.before_training(NETWORK.graph).latency.source == "predicted"


def test_measured_measures_and_predicts_nothing() -> None:
    stopwatch = Stopwatch()
    source = Measured(stopwatch)

    finding = source.before_training(NETWORK.graph)

    assert finding.latency.median_ms == true_ms(NETWORK.graph)
    assert finding.predicted is None
    assert source.after_training(NETWORK.graph, finding, {}) == finding
    assert stopwatch.measured == [graph_hash(NETWORK.graph)]


def test_predicted_measures_nothing() -> None:
    source = Predicted(MacsModel())

    finding = source.before_training(NETWORK.graph)

    assert finding.latency == finding.predicted == MacsModel().latency(NETWORK.graph)
    assert source.after_training(NETWORK.graph, finding, {}) == finding


@pytest.mark.parametrize(
    ("share", "is_measured"), [(2.0, False), (1.25, False), (1.1, True), (0.9, True), (0.5, False)]
)
def test_a_prediction_that_straddles_the_budget_is_measured(
    tmp_path: Path, share: float, is_measured: bool
) -> None:
    stopwatch = Stopwatch()
    source = hybrid(tmp_path, MacsModel(), stopwatch, share * MACS_MS)

    finding = source.before_training(NETWORK.graph)

    assert finding.predicted == MacsModel().latency(NETWORK.graph)
    assert (finding.latency.source == "measured") is is_measured
    assert bool(stopwatch.measured) is is_measured


def test_what_the_model_does_not_know_is_measured(tmp_path: Path) -> None:
    source = hybrid(tmp_path, MacsModel(unknown=lambda graph: True), Stopwatch())

    finding = source.before_training(NETWORK.graph)

    assert finding == Finding(finding.latency)
    assert finding.latency.median_ms == true_ms(NETWORK.graph)


@pytest.mark.parametrize(
    ("accuracy", "other_ms", "is_measured"),
    [
        (0.95, 0.1, True),  # more accurate
        (0.9, 0.9, True),  # as accurate, and in the best case faster
        (0.9, 0.8, False),  # slower even in the best case, which is 1 / 1.2
        (0.8, 0.9, True),
        (0.8, 0.8, False),
    ],
)
def test_what_may_belong_to_the_front_is_measured(
    tmp_path: Path, accuracy: float, other_ms: float, is_measured: bool
) -> None:
    source = hybrid(tmp_path, MacsModel(), stopwatch := Stopwatch())
    put(source.run, LARGER, accuracy=0.9, latency_ms=other_ms * MACS_MS)
    finding = source.before_training(NETWORK.graph)
    assert finding.latency.source == "predicted"
    values = {"accuracy": accuracy, "latency_ms": finding.latency.median_ms}

    found = source.after_training(NETWORK.graph, finding, values)

    assert (found.latency.source == "measured") is is_measured
    assert found.predicted == finding.predicted
    assert len(stopwatch.measured) == is_measured


def test_an_infeasible_network_keeps_none_from_the_front(tmp_path: Path) -> None:
    source = hybrid(tmp_path, MacsModel(), Stopwatch())
    best = put(source.run, LARGER, accuracy=1.0, latency_ms=1e-9)
    source.run.replace_evaluation(replace(best, status="infeasible"))
    finding = source.before_training(NETWORK.graph)
    values = {"accuracy": 0.1, "latency_ms": finding.latency.median_ms}

    assert source.after_training(NETWORK.graph, finding, values).latency.source == "measured"


# Learning from what is measured


def test_a_model_is_refitted_after_so_many_measurements_and_again_alike(tmp_path: Path) -> None:
    _, run = run_of(tmp_path)
    model = MacsModel(factor=3.0)
    learning = LearningModel(model, run, every=2)
    networks = [baseline(f"network{width}", width) for width in (4, 8, 12, 16, 20)]
    known = []
    for network in networks:
        known.append(learning.latency(NETWORK.graph)[1])
        put(run, network)

    latency, count = learning.latency(NETWORK.graph)

    assert known == [0, 0, 2, 2, 4]
    assert count == 4
    assert model.refits == [2, 4]
    first_four = [(network.graph, measured(true_ms(network.graph))) for network in networks[:4]]
    assert latency == MacsModel().refitted(first_four).latency(NETWORK.graph)
    taken_up = LearningModel(MacsModel(factor=3.0), run, every=2)
    assert taken_up.latency(NETWORK.graph) == (latency, 4)


def test_predicted_latencies_teach_nothing(tmp_path: Path) -> None:
    _, run = run_of(tmp_path)
    for width in (4, 8):
        found = put(run, baseline("network", width))
        run.replace_evaluation(replace(found, latency=predicted(1.0)))

    assert LearningModel(MacsModel(), run, every=1).latency(NETWORK.graph)[1] == 0


# Files


def test_an_evaluation_keeps_prediction_and_measurement() -> None:
    evaluation = Evaluation(
        "h", "finished", None, {}, {}, measured(1.0), predicted=predicted(1.1), known_networks=3
    )

    assert evaluation_from_json(json.loads(json.dumps(evaluation_to_json(evaluation)))) == (
        evaluation
    )


def test_an_evaluation_from_before_predictions_is_read() -> None:
    data = evaluation_to_json(Evaluation("h", "finished", None, {}, {}, measured(1.0)))
    del data["predicted"], data["known_networks"]

    evaluation = evaluation_from_json(data)

    assert evaluation.predicted is None
    assert not evaluation.is_predicted


# Searches


def found(results: RunResults) -> list[tuple[object, ...]]:
    """What a run has found, without the times that it took."""
    return [
        (trial.hash, trial.evaluation.values, trial.evaluation.reason, trial.evaluation.predicted)
        for trial in results.trials
    ]


def check_front(results: RunResults, stopwatch: Stopwatch) -> None:
    """All of the front is measured, and nothing twice."""
    assert results.front
    assert len(stopwatch.measured) == len(set(stopwatch.measured))
    for trial in results.front:
        graph = results.run.load_architecture(trial.hash).graph
        assert trial.evaluation.values["latency_ms"] == true_ms(graph) <= BUDGET_MS
        assert trial.evaluation.latency is not None
        assert trial.evaluation.latency.conditions is not None
    for trial in results.trials:
        assert trial.evaluation.is_predicted == (trial.hash not in stopwatch.measured)


def stopping_after(number: int, how: Callable[[], None]) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.done == number:
            how()

    return watch


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise RuntimeError("the power went")


def test_a_hybrid_search_measures_what_matters_and_nothing_else(tmp_path: Path) -> None:
    model, stopwatch = MacsModel(factor=1.3), Stopwatch()
    file = searching("hybrid", baselines=["lenet_300_100"], search={"trials": 20})
    (rule,) = file.config().constraints

    results = run_search(file, tmp_path, instruments=instruments(model, stopwatch))

    check_front(results, stopwatch)
    assert model.refits == [5, 10, 15][: len(model.refits)]
    assert model.refits
    only_predicted = [trial for trial in results.trials if trial.evaluation.is_predicted]
    assert 3 < len(only_predicted) < 18
    for trial in only_predicted:
        evaluation = trial.evaluation
        assert evaluation.latency == evaluation.predicted
        assert evaluation.latency is not None
        kept = probability_kept(rule, evaluation.latency)
        assert kept >= 0.9 if evaluation.feasible else kept <= 0.1
        assert evaluation.epochs == (1 if evaluation.feasible else 0)
    for trial in results.trials:
        straddling = is_uncertain(rule, trial.evaluation.predicted, 0.9)  # type: ignore[arg-type]
        assert trial.hash in stopwatch.measured or not straddling
    feasible = results.feasible
    mask = non_dominated(results.points(feasible), results.metrics)
    dominated = [t for t, best in zip(feasible, mask, strict=True) if not best]
    assert {t.hash for t in only_predicted if t.evaluation.feasible} <= {t.hash for t in dominated}
    assert json.loads(results.run.latency_model_file.read_text()) == model.about
    assert found(load_results(results.run.path)) == found(results)


def test_a_search_by_prediction_measures_only_its_final_front(tmp_path: Path) -> None:
    stopwatch = Stopwatch()

    results = run_search(
        searching("predicted"), tmp_path, instruments=instruments(stopwatch=stopwatch)
    )

    check_front(results, stopwatch)
    log = results.run.log_file.read_text()
    assert log.count(" of the front was predicted ") == len(stopwatch.measured)
    assert log.rindex('"status"') < log.index(" of the front was predicted ")
    assert {trial.hash for trial in results.front} <= set(stopwatch.measured)


def test_a_search_by_measurement_loads_no_model(tmp_path: Path) -> None:
    def no_model(config: object) -> MacsModel:
        raise AssertionError

    given = Instruments(instruments(stopwatch=(stopwatch := Stopwatch())).measurer, no_model)

    results = run_search(searching("measured", search={"trials": 4}), tmp_path, instruments=given)

    assert len(stopwatch.measured) == 4
    assert not results.run.latency_model_file.exists()
    assert all(trial.evaluation.predicted is None for trial in results.trials)


@pytest.mark.parametrize("source", ["predicted", "hybrid"])
def test_what_was_never_profiled_is_infeasible_or_measured(tmp_path: Path, source: str) -> None:
    model = MacsModel(unknown=lambda graph: len(graph.nodes) > 5)
    file = searching(source, constraints=[], search={"trials": 8, "sampler": "random"})

    results = run_search(file, tmp_path, instruments=instruments(model))

    unknown = [t for t in results.trials if t.evaluation.predicted is None]
    assert 0 < len(unknown) < 8
    for trial in unknown:
        if source == "hybrid":
            assert trial.evaluation.feasible
            assert not trial.evaluation.is_predicted
        else:
            assert "has no profile of 'conv2d 3x3 fp32'" in str(trial.evaluation.reason)
            assert "latency_ms" not in trial.evaluation.values
            assert trial.evaluation.epochs == 0


def test_a_front_that_breaks_the_budget_makes_way_until_all_of_it_is_measured(
    tmp_path: Path,
) -> None:
    """The model promises half of the true latency, with much confidence."""
    model, stopwatch = MacsModel(factor=0.5, width=1.01), Stopwatch()

    results = run_search(
        searching("predicted", search={"trials": 20}),
        tmp_path,
        instruments=instruments(model, stopwatch),
    )

    check_front(results, stopwatch)
    quality = latency_quality(results)
    broken = [t for t in results.trials if not t.evaluation.is_predicted]
    broken = [t for t in broken if not t.evaluation.feasible]
    assert broken
    assert quality.num_violating == len(broken)
    assert quality.num_accepted == len(stopwatch.measured)
    for trial in broken:
        assert str(trial.evaluation.reason).startswith(f"latency_ms <= {BUDGET_MS} is violated by")
        assert trial.evaluation.violations[f"latency_ms <= {BUDGET_MS}"] > 0


def test_a_front_that_cannot_be_measured_is_infeasible(tmp_path: Path) -> None:
    crashed = MeasurementError("crashed", "the worker crashed")
    stopwatch = Stopwatch(failing=lambda graph: crashed)

    results = run_search(
        searching("predicted", search={"trials": 4}),
        tmp_path,
        instruments=instruments(stopwatch=stopwatch),
    )

    assert results.front == ()
    assert {t.evaluation.reason for t in results.trials if t.hash in stopwatch.measured} == {
        "the worker crashed"
    }


@pytest.mark.sweep(2)
@pytest.mark.parametrize("source", ["predicted", "hybrid"])
@pytest.mark.parametrize("how", [interrupt, fail])
def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, source: str, how: Callable[[], None]
) -> None:
    file = searching(source, search={"trials": 16})

    def given() -> Instruments:
        return instruments(MacsModel(factor=1.3))

    whole = run_search(file, tmp_path / "whole", instruments=given())
    for number in (6, 13):
        stop = stopping_after(number, how)
        if how is fail:
            with pytest.raises(RuntimeError, match="the power went"):
                run_search(file, tmp_path, resume=True, on_progress=stop, instruments=given())
        else:
            run_search(file, tmp_path, resume=True, on_progress=stop, instruments=given())

    results = run_search(file, tmp_path, resume=True, instruments=given())

    assert found(results) == found(whole)
    assert not results.predicted_front


def test_an_interrupted_search_says_which_latencies_are_predicted_and_measures_them_later(
    tmp_path: Path,
) -> None:
    file = searching("predicted")
    given = instruments(stopwatch=(stopwatch := Stopwatch()))

    stopped = run_search(
        file, tmp_path, on_progress=stopping_after(12, interrupt), instruments=given
    )

    assert stopwatch.measured == []
    rows = front_json(stopped)["front"]
    assert {row["latency_source"] for row in rows} == {"predicted"}
    results = run_search(file, tmp_path, resume=True, instruments=given)
    check_front(results, stopwatch)
    rows = front_json(results)["front"]
    assert {row["latency_source"] for row in rows} == {"measured"}
    assert all(row["predicted_latency_ms"] > 0 for row in rows)


def test_a_machine_that_stays_busy_ends_the_search_and_costs_no_candidate(tmp_path: Path) -> None:
    busy = [True]
    stopwatch = Stopwatch(
        failing=lambda graph: MeasurementError("busy", "too busy") if busy else None
    )
    given = instruments(stopwatch=stopwatch)

    with pytest.raises(MeasurementError, match="too busy"):
        run_search(searching("predicted"), tmp_path, instruments=given)

    busy.clear()
    stopwatch.measured.clear()
    check_front(
        run_search(searching("predicted"), tmp_path, resume=True, instruments=given), stopwatch
    )


def test_a_front_measured_by_half_is_measured_to_the_end_and_nothing_twice(tmp_path: Path) -> None:
    busy = [True]

    def failing(graph: Graph) -> MeasurementError | None:
        stuck = busy and len(stopwatch.measured) > 1
        return MeasurementError("unreachable", "the board is away") if stuck else None

    stopwatch = Stopwatch(failing)
    given = instruments(MacsModel(factor=0.7), stopwatch)
    whole = run_search(
        searching("predicted"), tmp_path / "whole", instruments=instruments(MacsModel(factor=0.7))
    )
    with pytest.raises(MeasurementError, match="the board is away"):
        run_search(searching("predicted"), tmp_path, instruments=given)
    (done,) = [t for t in load_results(tmp_path / "tiny").trials if not t.evaluation.is_predicted]
    assert done.hash == stopwatch.measured[0]

    busy.clear()
    stopwatch.measured.pop()  # the one that failed
    results = run_search(searching("predicted"), tmp_path, resume=True, instruments=given)

    check_front(results, stopwatch)
    assert found(results) == found(whole)


def test_a_device_without_a_model_is_named_before_anything_is_written(tmp_path: Path) -> None:
    def no_model(config: object) -> MacsModel:
        raise UserError("device 'host' has no latency model")

    with pytest.raises(UserError, match="has no latency model"):
        run_search(
            searching("hybrid"), tmp_path, instruments=Instruments(fresh_stopwatch, no_model)
        )

    assert list(tmp_path.iterdir()) == []


def test_a_search_by_prediction_times_no_kernels() -> None:
    space = SPACE | {"head": {"precision": ["fp32", "w8a8"]}}

    assert why_not(searching("hybrid", space=space).config()) == ""
    reason = why_not(searching("predicted", space=space).config())
    assert reason == "latency.source is predicted, so nothing is timed"


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ({"source": "guessed"}, "'measured', 'predicted' or 'hybrid', got 'guessed'"),
        ({"confidence": 0.4}, "confidence must be at least 0.5 and below 1, got 0.4"),
        ({"confidence": 1}, "confidence must be at least 0.5 and below 1, got 1"),
    ],
)
def test_a_wrong_source_or_confidence_is_explained(
    tmp_path: Path, latency: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml_text.dump({"name": "run", "space": SPACE, "latency": latency}))

    with pytest.raises(UserError, match=message):
        read_run_file(path)


def test_the_example_is_valid() -> None:
    config = read_run_file(EXAMPLE).config()

    assert config.latency.source == "hybrid"
    assert latency_rules(config)


def test_status_and_front_mark_what_is_predicted(tmp_path: Path) -> None:
    file = searching("predicted")
    stop = stopping_after(12, interrupt)
    run_search(file, tmp_path, on_progress=stop, instruments=instruments())
    run = str(tmp_path / "tiny")

    status = CliRunner().invoke(app, ["status", run], catch_exceptions=False).output
    front = CliRunner().invoke(app, ["front", run], catch_exceptions=False).output

    count = len(load_results(tmp_path / "tiny").front)
    assert "latencies: 12 only predicted, 0 measured" in status
    assert f"{count} of the front to be measured by --resume" in status
    assert front.count("~") == count

    run_search(file, tmp_path, resume=True, instruments=instruments())

    status = CliRunner().invoke(app, ["status", run], catch_exceptions=False).output
    assert "accepted by prediction violate the budget when measured" in status
    assert "~" not in CliRunner().invoke(app, ["front", run], catch_exceptions=False).output


@pytest.mark.slow
def test_two_workers_learn_from_each_others_measurements(
    tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    file = searching("hybrid", data=digits_file, search={"trials": 14, "workers": 2})

    results = run_search(file, tmp_path, instruments=Instruments(fresh_stopwatch, fresh_model))

    assert len(results.searched) == 14
    assert results.front
    assert not results.predicted_front
    assert max(trial.evaluation.known_networks for trial in results.trials) >= 5


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles that is not the user's own."""
    folder = tmp_path / "profiles"
    monkeypatch.setenv("HWNAS_PROFILES", str(folder))
    return folder


def test_a_device_that_was_never_profiled_is_named_with_the_remedy(
    tmp_path: Path, profiles: Path
) -> None:
    message = (
        "latency.source is 'hybrid', but device 'host' has no latency model; make one with "
        "'nas device profile host --space RUN.yaml', or set latency.source to measured"
    )

    with pytest.raises(UserError, match=message):
        run_search(searching("hybrid"), tmp_path / "runs")

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ({"runtime": "onnxruntime"}, "with runtime tvm, but the run asks for onnxruntime; set "),
        ({"tuned": True}, "with tuned false, but the run asks for true; set latency.tuned to "),
    ],
)
def test_a_model_of_networks_that_are_run_otherwise_is_refused(
    tmp_path: Path, profiles: Path, latency: dict[str, Any], message: str
) -> None:
    make_profile(profiles, "host", factor=1.0)

    with pytest.raises(UserError, match=message):
        run_search(searching("hybrid", latency=latency | {"source": "hybrid"}), tmp_path / "runs")


def test_a_search_predicts_with_the_model_on_file(tmp_path: Path, profiles: Path) -> None:
    """Its formula knows other networks than these, so most kernels were never profiled."""
    make_profile(profiles, "host", factor=1.0)
    given = Instruments(instruments(stopwatch=(stopwatch := Stopwatch())).measurer)
    file = searching("hybrid", constraints=[], search={"trials": 4})

    results = run_search(file, tmp_path / "runs", instruments=given)

    assert results.front
    assert not results.predicted_front
    model = LatencyModel.load("host")
    for trial in results.trials:
        graph = results.run.load_architecture(trial.hash).graph
        try:
            expected = model.latency(graph)
        except NotProfiledError:
            assert trial.evaluation.predicted is None
            assert trial.hash in stopwatch.measured
        else:
            assert trial.evaluation.predicted == expected


class Formula(Stopwatch):
    """Measures what the formula of `tests.nas.parts.profiles` says: its kernels and 0.01 ms."""

    def latency(self, graph: Graph) -> Latency:
        self.measured.append(graph_hash(graph))
        return measured(formula_ms(graph))


def formula_ms(graph: Graph) -> float:
    uses = network_kernels(graph, "tvm", AVX2)
    return sum(kernel_ms(use.kernel, 1.0) for use in uses) + 0.01


@pytest.mark.slow
def test_a_search_of_a_profiled_space_predicts_well_and_learns(
    tmp_path: Path, profiles: Path
) -> None:
    space = yaml_text.load(EXAMPLE.read_text())["space"]
    file = searching(
        "hybrid",
        space=space,
        constraints=["latency_ms <= 0.3"],
        search={"trials": 20, "avoid_useless": False},
    )
    drawn, rng = space_for(file.config(), 1, 10), Random(0)
    make_profile(profiles, "host", 1.0, [sample(drawn, rng).graph for _ in range(100)])
    stopwatch = Formula()
    given = Instruments(instruments(stopwatch=stopwatch).measurer)

    results = run_search(file, tmp_path / "runs", instruments=given)

    assert results.front
    assert not results.predicted_front
    assert all(t.evaluation.values["latency_ms"] <= 0.3 for t in results.front)
    quality = latency_quality(results)
    assert len(quality.compared) > 3
    assert quality.num_predicted > 3
    assert quality.mape is not None
    assert quality.mape < 0.1
    assert max(trial.evaluation.known_networks for trial in results.trials) >= 5
    about = json.loads(results.run.latency_model_file.read_text())
    assert about["networks"] == 100


PROGRAM = """
import sys
from pathlib import Path
from nas.evaluation.instruments import Instruments
from nas.problem.run_file import read_run_file
from nas.search.run import run_search
from tests.nas.parts.latencies import fresh_model, fresh_stopwatch

run_search(
    read_run_file(Path(sys.argv[1])),
    Path(sys.argv[2]),
    resume=True,
    on_progress=lambda progress: print(progress.done, flush=True),
    instruments=Instruments(fresh_stopwatch, fresh_model),
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [pytest.param("predicted", marks=pytest.mark.cluster), "hybrid"]
)
def test_a_killed_search_loses_nothing_and_goes_on_alike(
    tmp_path: Path, digits_file: dict[str, Any], source: str
) -> None:
    file = searching(source, data=digits_file, search={"trials": 16})
    given = Instruments(fresh_stopwatch, fresh_model)
    whole = run_search(file, tmp_path / "whole", instruments=given)
    program, config = tmp_path / "program.py", tmp_path / "run.yaml"
    program.write_text(PROGRAM)
    config.write_text(to_yaml(file))
    for done in ("6", "13", "16"):  # the last one perhaps while the front is measured
        with subprocess.Popen(
            [sys.executable, str(program), str(config), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        ) as process:
            assert process.stdout is not None
            next(line for line in process.stdout if line.strip() == done)
            process.kill()

    results = run_search(file, tmp_path, resume=True, instruments=given)

    assert found(results) == found(whole)
    assert not results.predicted_front


# How good the predictions were


def test_predictions_are_compared_with_measurements_by_hand(tmp_path: Path) -> None:
    pairs = [
        (predicted(1.0), measured(1.05)),  # accepted, kept
        (predicted(1.5), measured(2.1)),  # accepted, broken
        (predicted(1.6), measured(1.6)),  # accepted, kept
        (predicted(2.0), measured(2.5)),  # not accepted, broken
        (predicted(1.0), predicted(1.0)),
        (None, measured(1.0)),
    ]

    def edit(number: int, evaluation: Evaluation) -> Evaluation:
        before, after = pairs[number]
        values = {**evaluation.values, "accuracy": 0.9, "latency_ms": after.median_ms}
        return replace(evaluation, predicted=before, latency=after, values=values)

    file = run_file(constraints=["latency_ms <= 2"], trials=6)
    results = make_run(tmp_path, file=file, trials=6, edit=edit)

    quality = latency_quality(results)

    assert (quality.num_predicted, quality.num_measured, len(quality.compared)) == (1, 5, 4)
    errors = [0.05 / 1.05, 0.6 / 2.1, 0, 0.2]
    assert quality.mape == pytest.approx(np.mean(errors))
    assert quality.close == 0.5
    assert quality.inside == 0.5  # 2.1 and 2.5 are more than 1.2 times what was predicted
    assert (quality.num_accepted, quality.num_violating) == (3, 1)
    assert quality.violation_rate == pytest.approx(1 / 3)
    assert in_one_line(quality) == (
        "latencies: 1 only predicted, 5 measured; predictions are off by 13.33 % on average; "
        "1 of 3 accepted by prediction violate the budget when measured (33.33 %)"
    )


def test_a_run_without_predictions_has_nothing_to_compare(tmp_path: Path) -> None:
    quality = latency_quality(make_run(tmp_path, trials=3))

    assert (quality.num_predicted, quality.num_measured) == (0, 3)
    assert quality.mape is None
    assert quality.violation_rate is None


def test_measuring_a_front_that_is_measured_does_nothing(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=3)

    measure_front(lambda: results, stopwatch := Stopwatch())

    assert stopwatch.measured == []
