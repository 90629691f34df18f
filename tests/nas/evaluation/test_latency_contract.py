"""Every source of latencies keeps one contract, wherever its numbers come from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latency_models.devices.latency import DeviceBusyError, MeasurementError, NotProfiledError
from nas.evaluation.instruments import make_source
from nas.evaluation.latency import BUSY_TRIES, CandidateLatency, Hybrid, Measured, Predicted
from nas.runs.folder import RunFolder, create_run
from tests.nas.parts.contracts import keeping
from tests.nas.parts.latencies import MacsModel, Stopwatch, true_ms
from tests.nas.parts.runs import baseline
from tests.nas.parts.tiny import tiny

GRAPH = baseline("net", 4).graph
VALUES = {"accuracy": 0.9, "macs": 1.0}
Maker = Callable[[RunFolder, Stopwatch, MacsModel], CandidateLatency]


def hybrid(run: RunFolder, stopwatch: Stopwatch, model: MacsModel, first: int) -> Hybrid:
    config = tiny(objectives=["accuracy", "latency_ms"], latency={"source": "hybrid"}).config()
    return Hybrid(config, run, stopwatch, model, first)


MAKERS: dict[str, Maker] = {
    "measured": lambda run, stopwatch, model: Measured(stopwatch),
    "predicted": lambda run, stopwatch, model: Predicted(model),
    "hybrid at first": lambda run, stopwatch, model: hybrid(run, stopwatch, model, first=5),
    "hybrid later": lambda run, stopwatch, model: hybrid(run, stopwatch, model, first=0),
}
MEASURES = sorted(MAKERS.keys() - {"predicted"})
PREDICTS = sorted(MAKERS.keys() - {"measured"})


def test_every_source_is_in_this_suite(run: RunFolder) -> None:
    makers = (maker(run, Stopwatch(), MacsModel()) for maker in MAKERS.values())

    assert {type(source).__name__ for source in makers} == keeping(
        "before_training", "after_training"
    )


@pytest.mark.parametrize(
    ("source", "kind"), [("measured", Measured), ("predicted", Predicted), ("hybrid", Hybrid)]
)
def test_a_run_file_names_each_source(run: RunFolder, source: str, kind: type) -> None:
    config = tiny(objectives=["accuracy", "latency_ms"], latency={"source": source}).config()
    model = None if source == "measured" else MacsModel()

    assert type(make_source(config, run, Stopwatch(), model)) is kind


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", "name: run\n")


@pytest.mark.parametrize("name", MAKERS)
def test_a_latency_is_known_before_training_and_never_a_made_up_one(
    run: RunFolder, name: str
) -> None:
    stopwatch, model = Stopwatch(), MacsModel(factor=1.5)

    finding = MAKERS[name](run, stopwatch, model).before_training(GRAPH)

    predicted = model.latency(GRAPH)
    assert finding.predicted in (None, predicted)
    if finding.latency.source == "measured":
        assert finding.latency.median_ms == true_ms(GRAPH)
        assert stopwatch.measured
    else:
        assert finding.latency == predicted
        assert not stopwatch.measured


@pytest.mark.parametrize("name", MAKERS)
def test_training_takes_nothing_away_from_what_is_known(run: RunFolder, name: str) -> None:
    source = MAKERS[name](run, stopwatch := Stopwatch(), MacsModel())
    before = source.before_training(GRAPH)

    after = source.after_training(
        GRAPH, before, {**VALUES, "latency_ms": before.latency.median_ms}
    )

    assert (after.predicted, after.known_networks) == (before.predicted, before.known_networks)
    if before.latency.source == "measured":
        assert after == before
    assert len(stopwatch.measured) == (after.latency.source == "measured")  # once at most


@pytest.mark.parametrize("name", MEASURES)
def test_a_network_that_cannot_be_measured_says_so(run: RunFolder, name: str) -> None:
    crashed = MeasurementError("crashed", "the worker crashed")
    source = MAKERS[name](run, Stopwatch(lambda graph: crashed), MacsModel())

    with pytest.raises(MeasurementError) as caught:  # whenever it is measured
        source.after_training(GRAPH, source.before_training(GRAPH), {**VALUES, "latency_ms": 1.0})

    assert caught.value is crashed


@pytest.mark.parametrize("name", PREDICTS)
def test_a_network_that_was_never_profiled_is_measured_or_refused(
    run: RunFolder, name: str
) -> None:
    source = MAKERS[name](run, Stopwatch(), MacsModel(unknown=lambda graph: True))

    if name == "predicted":
        with pytest.raises(NotProfiledError):
            source.before_training(GRAPH)
    else:
        finding = source.before_training(GRAPH)
        assert (finding.latency.median_ms, finding.predicted) == (true_ms(GRAPH), None)


@pytest.mark.parametrize("name", MEASURES)
def test_a_busy_machine_is_waited_for_and_not_for_ever(run: RunFolder, name: str) -> None:
    stopwatch = Stopwatch(lambda graph: DeviceBusyError("somebody compiles"))
    source = MAKERS[name](run, stopwatch, MacsModel(unknown=lambda graph: True))

    with pytest.raises(DeviceBusyError, match=rf"compiles \(tried {BUSY_TRIES} times in"):
        source.before_training(GRAPH)

    assert len(stopwatch.measured) == BUSY_TRIES
