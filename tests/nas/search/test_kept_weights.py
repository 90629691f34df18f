"""Weights that go with ``search.keep_weights: front``, and what stays possible without them."""

from dataclasses import replace
from pathlib import Path

import pytest

from latency_models.devices.latency import Latency
from nas.export.retrain import retrain
from nas.problem.metrics import METRICS
from nas.report.finish import finish_run, without_weights
from nas.runs.evaluation import Evaluation
from nas.search.kept_weights import KeptWeights, superfluous
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import make_run, run_file
from tests.nas.parts.tiny import tiny

METRICS_OF_TWO = (METRICS["accuracy"], METRICS["latency_ms"])


def known(key: str, accuracy: float, ms: float, source: str = "measured") -> Evaluation:
    latency = Latency(ms, 0.0, source, None)  # type: ignore[arg-type]
    values = {"accuracy": accuracy, "latency_ms": ms}
    return Evaluation(key, "finished", None, values, {}, latency, epochs=1)


def kept(results: RunResults) -> set[str]:
    return {path.stem for path in results.run.weights.iterdir()}


def test_what_is_dominated_infeasible_or_stopped_early_goes() -> None:
    best, equal = known("best", 0.9, 1.0), known("equal", 0.9, 1.0)
    fast, worse = known("fast", 0.8, 0.5), known("worse", 0.8, 1.0)
    broken = replace(known("broken", 0.99, 0.1), status="infeasible")
    stopped = replace(known("stopped", 0.99, 0.1), status="stopped")

    gone = superfluous([best, equal, fast, worse, broken, stopped], METRICS_OF_TWO)

    assert gone == {"worse", "broken", "stopped"}


def test_what_only_a_predicted_network_dominates_may_come_back_and_stays() -> None:
    predicted, worse = known("predicted", 0.9, 1.0, "predicted"), known("worse", 0.8, 2.0)

    assert superfluous([predicted, worse], METRICS_OF_TWO) == set()
    measured = known("predicted", 0.9, 1.0)
    assert superfluous([measured, worse], METRICS_OF_TWO) == {"worse"}
    slower = known("predicted", 0.9, 3.0)
    assert superfluous([slower, worse], METRICS_OF_TWO) == set()


def test_what_only_an_estimated_archive_dominates_may_come_back_and_stays() -> None:
    metrics = (METRICS["accuracy"], METRICS["archive_bytes"])
    small, large = (
        Evaluation(key, "finished", None, {"accuracy": 0.9, "archive_bytes": size}, {}, epochs=1)
        for key, size in (("small", 100.0), ("large", 120.0))
    )

    assert superfluous([small, large], metrics) == set()
    written = replace(small, estimated_archive_bytes=98)
    assert superfluous([written, large], metrics) == {"large"}


def test_there_may_be_nothing_to_keep() -> None:
    assert superfluous([], METRICS_OF_TWO) == set()


def test_a_search_keeps_all_weights_and_frees_the_disk_when_it_is_told_to(tmp_path: Path) -> None:
    all_of_it = run_search(tiny(), tmp_path)
    assert kept(all_of_it) == {trial.hash for trial in all_of_it.trials}

    told = tiny(search={"keep_weights": "front"})
    again = run_search(told, tmp_path, resume=True)

    front = {trial.hash for trial in again.front}
    assert len(front) < len(again.trials)
    assert kept(again) == front
    assert [t.evaluation for t in again.trials] == [t.evaluation for t in all_of_it.trials]
    more = run_search(tiny(search={"keep_weights": "front", "trials": 9}), tmp_path, resume=True)
    assert len(more.searched) == 9
    assert kept(more) == {trial.hash for trial in more.front}
    finish_run(more)
    assert set(more.test_accuracies) == {trial.hash for trial in more.front}

    off = next(trial for trial in more.trials if trial.hash not in kept(more))
    with pytest.raises(UserError, match=r"keep_weights: front\); 'nas retrain' trains it"):
        more.run.load_model(off.hash)
    retrained = retrain(more, more.pick(str(off.number)), epochs=1)
    assert retrained.weights_file.exists()


def test_a_network_of_the_front_whose_weights_are_gone_is_named_and_ends_nothing(
    tmp_path: Path,
) -> None:
    results = run_search(tiny(), tmp_path)
    lost = results.front[0]
    results.run.weights_file(lost.hash).unlink()

    finish_run(results)

    assert without_weights(results) == [lost]
    assert lost.hash not in results.test_accuracies


def test_two_drivers_remove_only_what_is_told_and_do_not_mind_each_other(tmp_path: Path) -> None:
    file = run_file(trials=8, search={"trials": 8, "keep_weights": "front"})
    results = make_run(tmp_path, file=file, trials=8)
    results.run.weights.mkdir(exist_ok=True)
    for trial in results.trials:
        results.run.weights_file(trial.hash).write_bytes(b"")
    results.run.weights_file("0123456789abcdef").write_bytes(b"")  # filed, and not told yet
    one, other = (KeptWeights(results.config, results.run) for _ in range(2))

    for number, trial in enumerate(results.trials):
        (one if number % 2 else other).note(trial.evaluation)
    one.tidy(load_results(results.run.path))
    other.tidy(load_results(results.run.path))

    assert kept(results) == {trial.hash for trial in results.front} | {"0123456789abcdef"}
