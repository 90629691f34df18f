"""The parts of a search on a cluster that need no cluster."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from safetensors.numpy import load

from latency_models.devices.latency import DeviceBusyError, Latency, MeasurementError
from nas.evaluation.instruments import Instruments
from nas.evaluation.latency import is_machines_fault
from nas.evaluation.ray.device_client import RemoteMeasurer
from nas.evaluation.ray.head_watch import Ending
from nas.evaluation.ray.keeper import Keeper, from_bytes, to_bytes
from nas.evaluation.ray.monitor import fitting
from nas.evaluation.ray.remote_calls import outcome_of, value_of
from nas.evaluation.ray.trainable import Shared, shared_config
from nas.evaluation.ray.tune import Jobs, TrialLostError, TuneRun
from nas.problem.answers import Confusion
from nas.problem.run_file import to_yaml
from nas.runs.evaluation import Evaluation, Heritage
from nas.runs.files import DiskFullError
from nas.runs.folder import create_run
from nas.training.candidate import CandidateFailedError
from nas.training.loop import TrainingResult
from nas.training.trainer import TrainingDivergedError
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.model import random_model
from search_spaces.space.architecture import from_json, graph_hash, to_json
from search_spaces.space.space import sample
from tests.nas.parts.runs import CONDITIONS, baseline
from tests.nas.parts.tiny import tiny


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (MeasurementError("crashed", "it died"), MeasurementError),
        (DeviceBusyError("somebody compiles"), DeviceBusyError),
        (UnsupportedOperatorError("no gelu"), UnsupportedOperatorError),
        (DiskFullError("no room"), DiskFullError),
        (TrainingDivergedError(1, 2, 0.1, "loss nan"), CandidateFailedError),
        (UserError("the data is not there"), UserError),
        (FileNotFoundError("flowers.npz"), UserError),
        (ZeroDivisionError("a slip"), RuntimeError),
    ],
)
def test_an_error_crosses_the_cluster_as_data_and_keeps_its_meaning(
    error: Exception, again: type[Exception]
) -> None:
    outcome = outcome_of(raising(error))

    with pytest.raises(again) as caught:
        value_of(outcome)

    assert type(caught.value) is again
    assert str(error) in str(caught.value)
    assert is_machines_fault(caught.value) == is_machines_fault(error)


def test_a_value_crosses_as_it_is() -> None:
    assert value_of(outcome_of(lambda: {"went_on": True})) == {"went_on": True}


def trained() -> TrainingResult:
    graph = baseline("net", 4).graph
    model = random_model(graph, np.random.default_rng(0))
    answers = Confusion(3, ((0, 0, 2), (0, 2, 1), (1, 1, 5)))
    return TrainingResult(model, (0.5, 0.25), (0.75, 1.0), 3.5, False, answers)


def test_a_trained_network_arrives_as_it_was_sent() -> None:
    sent = trained()

    got = from_bytes(to_bytes(sent), sent.model.graph)

    assert replace(got, model=sent.model) == sent
    assert got.model.graph == sent.model.graph
    assert got.model.arrays.keys() == sent.model.arrays.keys()
    for name, array in sent.model.arrays.items():
        np.testing.assert_array_equal(got.model.arrays[name], array)


def test_what_a_network_inherited_arrives_with_it() -> None:
    sent = replace(trained(), inherited=Heritage("0123456789abcdef", 0.75))

    assert from_bytes(to_bytes(sent), sent.model.graph).inherited == sent.inherited
    assert from_bytes(to_bytes(trained()), sent.model.graph).inherited is None


def test_the_keeper_tells_whom_a_candidate_inherits_from_and_why_it_cannot(
    tmp_path: Path,
) -> None:
    file = tiny(search={"inherit": {"after": 1, "afresh": 0, "least_share": 0.01}})
    run = create_run(tmp_path / "tiny", to_yaml(file))
    space = replace(file.config(is_tried=True).space, in_channels=1, num_classes=10)
    parent, child = (sample(space, Random(seed)) for seed in (0, 1))
    key, arrays = graph_hash(parent.graph), random_model(parent.graph, default_rng(0)).arrays
    found = Evaluation(key, "finished", None, {"accuracy": 0.5}, {}, epochs=1)
    run.save_evaluation(parent, found, arrays)
    keeper = Keeper(str(run.path), ())

    heritage = keeper.heritage_of(to_json(child))

    assert heritage is not None
    assert heritage.parent == key
    told = keeper.parent(key)
    assert not isinstance(told, str)
    assert from_json(told[0]) == parent
    assert load(told[1]).keys() == arrays.keys()
    run.weights_file(key).unlink()
    said = keeper.parent(key)
    assert isinstance(said, str)
    assert "no weights" in said
    keeper.give_up(graph_hash(child.graph))
    assert keeper.heritage_of(to_json(child)) is None


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_delivery_that_is_cut_off_is_refused(cut: int) -> None:
    sent = trained()

    with pytest.raises(UserError, match="a trained network that was delivered is damaged"):
        from_bytes(to_bytes(sent)[:cut], sent.model.graph)


def test_jobs_are_handed_out_in_order_and_end_where_they_were_asked_for() -> None:
    jobs = Jobs()
    first, second = jobs.add({"key": "a"}), jobs.add({"key": "b"})
    assert jobs.keys() == (("a", "b"), ())
    assert jobs.hand_out("t1") == {"key": "a"}
    assert jobs.hand_out("t2") == {"key": "b"}
    assert jobs.hand_out("t3") is None
    assert jobs.keys() == ((), ("a", "b"))

    jobs.fail("t2", TrialLostError("gone"))
    jobs.finish("t1", {"value": 1})
    jobs.finish("t1", {"value": 2})  # said twice, it ends once

    assert first.result(0) == {"value": 1}
    assert isinstance(second.exception(0), TrialLostError)


def test_what_a_failed_tune_had_taken_is_handed_out_again_first() -> None:
    jobs = Jobs()
    for key in "abc":
        jobs.add({"key": key})
    jobs.hand_out("t1")
    jobs.hand_out("t2")

    jobs.start_over()

    assert jobs.keys() == (("a", "b", "c"), ())


def test_when_all_is_over_nobody_waits_for_ever() -> None:
    jobs = Jobs()
    waiting, running = jobs.add({"key": "b"}), jobs.add({"key": "a"})
    jobs.hand_out("t1")

    jobs.close(UserError("the cluster is gone"))

    late = jobs.add({"key": "c"})
    assert all(isinstance(f.exception(0), UserError) for f in (waiting, running, late))


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "room"),
    [
        ({"CPU": 8.0}, 1.0, 0.0, 8),
        ({"CPU": 8.0}, 3.0, 0.0, 2),
        ({"CPU": 0.3}, 0.1, 0.0, 3),
        ({"CPU": 8.0, "GPU": 1.0}, 1.0, 0.25, 4),
        ({"CPU": 8.0}, 1.0, 1.0, 0),
        ({}, 1.0, 0.0, 0),
    ],
)
def test_room_is_what_the_scarcer_resource_allows(
    resources: dict[str, float], cpus: float, gpus: float, room: int
) -> None:
    assert fitting(resources, cpus, gpus) == room


def test_a_spare_with_another_cpu_is_refused() -> None:
    config = tiny(objectives=["accuracy", "latency_ms"]).config()
    measurer = RemoteMeasurer(config, "node", Instruments(), Ending())
    measurer.check_cpu(Latency(1.0, 0.0, "measured", CONDITIONS))
    measurer.check_cpu(Latency(2.0, 0.0, "measured", CONDITIONS))

    other = Latency(1.0, 0.0, "measured", replace(CONDITIONS, cpu="Other CPU"))
    with pytest.raises(UserError, match=r"one kind of CPU .*, got 'Other CPU' after 'Example CPU"):
        measurer.check_cpu(other)


class Broken(TuneRun):
    """Tune whose temporary folder cannot be made."""

    def tuner(self, folder: str) -> Any:  # noqa: ANN401
        raise OSError(28, "No space left on device")


def test_a_tune_that_does_not_run_lets_nobody_wait_for_ever() -> None:
    shared = Shared(tiny().config(), None, "", {}, {})
    broken = Broken(shared, 1.0, 0.0)
    waiting = broken.jobs.add({"key": "a"})

    broken.run()

    assert isinstance(waiting.exception(0), UserError)
    assert "No space left on device" in str(waiting.exception(0))


def test_no_node_is_told_where_the_study_is() -> None:
    url: dict[str, Any] = {"storage": "postgresql+psycopg://me:secret@host/db"}
    config = tiny(search=url).config()

    assert "secret" in repr(config)
    assert "host/db" not in repr(shared_config(config))
