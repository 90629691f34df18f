"""Candidates go on from their checkpoints, whatever ended their process, and end the same."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from latency_models.devices.latency import Latency
from nas.data.tensors import TensorSplits
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.latency import Finding
from nas.problem.records import RunConfig
from nas.problem.run_file import to_yaml
from nas.runs.folder import create_run
from nas.training.candidate import LocalTraining, TrainingTooLongError
from nas.training.checkpoints import FolderCheckpoints
from nas.training.loop import EpochReport, TrainingResult
from nas.training.state import Recipe, data_fingerprint, from_bytes
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.runs import CONDITIONS
from tests.nas.parts.tiny import tiny
from tests.nas.parts.trainings import check_same, dropping_net, few_digits

GRAPH = dropping_net()
KEY = graph_hash(GRAPH)
EPOCHS = 5


@pytest.fixture(scope="module")
def few() -> TensorSplits:
    return few_digits()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the search's log is told, also where another search has cut it off from the others."""
    log = logging.getLogger("nas.search")
    propagate, log.propagate = log.propagate, False
    log.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "nas.search")
    yield caplog
    log.removeHandler(caplog.handler)
    log.propagate = propagate


def config_of(**changes: Any) -> RunConfig:  # noqa: ANN401
    training = {"epochs": EPOCHS, "batch_size": 32}
    return tiny(**{"training": training} | changes).config()


class KilledError(Exception):
    """Stands for the end of a process."""


@dataclass
class Ending:
    """Ends a training after some epochs, as the death of its process would."""

    after: int
    asked: list[int] = field(default_factory=list)

    def __call__(self, key: str, values: Mapping[str, float], report: EpochReport) -> bool:
        assert (key, values) == (KEY, {"macs": 7.0})
        self.asked.append(report.epoch)
        if report.epoch > self.after:
            raise KilledError
        return True


def trained(
    config: RunConfig,
    data: TensorSplits,
    folder: Path,
    **options: Any,  # noqa: ANN401
) -> TrainingResult:
    training = LocalTraining(config, data, FolderCheckpoints(folder), **options)
    return training(candidate_of(GRAPH), {"macs": 7.0})


def candidate_of(graph: Graph) -> Architecture:
    return Architecture("", (), graph)


def killed_after(epochs: int, config: RunConfig, data: TensorSplits, folder: Path) -> Path:
    """Returns the file of the checkpoint that is left."""
    with pytest.raises(KilledError):
        trained(config, data, folder, may_go_on=Ending(epochs), every_s=0)
    return folder / f"{KEY}.safetensors"


def test_a_candidate_goes_on_after_its_last_checkpoint(
    tmp_path: Path, few: TensorSplits, said: pytest.LogCaptureFixture
) -> None:
    config = config_of()
    killed_after(2, config, few, tmp_path)
    later = Ending(EPOCHS)

    result = trained(config, few, tmp_path, may_go_on=later)

    assert later.asked == [3, 4]
    assert f"{KEY} goes on after epoch 2" in said.text
    check_same(result, trained(config, few, tmp_path / "other"))


def test_checkpoints_are_saved_now_and_then_or_always(tmp_path: Path, few: TensorSplits) -> None:
    trained(config_of(), few, tmp_path)
    assert not list(tmp_path.iterdir())  # it took less than 30 s

    trained(config_of(), few, tmp_path, every_s=0)
    (file,) = tmp_path.iterdir()
    recipe = Recipe(GRAPH, config_of().training, data_fingerprint(few), "cpu")
    assert from_bytes(file.read_bytes(), recipe).epochs == EPOCHS
    LocalTraining(config_of(), few, FolderCheckpoints(tmp_path)).forget(KEY)
    assert not list(tmp_path.iterdir())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, turn_a_bit, empty])
def test_a_damaged_checkpoint_starts_over_with_a_warning(
    damage: Callable[[Path], None],
    tmp_path: Path,
    few: TensorSplits,
    said: pytest.LogCaptureFixture,
) -> None:
    config = config_of()
    file = killed_after(2, config, few, tmp_path)
    damage(file)

    result = trained(config, few, tmp_path)

    assert f"{KEY} is trained from the start: a training's state" in said.text
    assert not file.exists()
    check_same(result, trained(config, few, tmp_path / "other"))


def test_a_checkpoint_of_another_recipe_or_other_images_starts_over(
    tmp_path: Path, few: TensorSplits, said: pytest.LogCaptureFixture
) -> None:
    config = config_of()
    other = replace(config, training=replace(config.training, learning_rate=0.5))
    killed_after(2, other, few, tmp_path)
    check_same(trained(config, few, tmp_path), trained(config, few, tmp_path / "other"))
    assert "must be of the same recipe" in said.text

    swapped = replace(few, train=few.validation)
    killed_after(2, config, swapped, tmp_path)
    trained(config, few, tmp_path)
    assert "must be of the same data" in said.text


def test_a_full_disk_is_a_warning_and_training_goes_on(
    small_disk: Path, few: TensorSplits, said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(150_000))

    result = trained(config_of(), few, small_disk, every_s=0)

    assert said.text.count("goes on without a new checkpoint: the disk is full") == EPOCHS
    check_same(result, trained(config_of(), few, tmp_path / "other"))


class FullLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError(28, "No space left on device")


def test_a_log_on_the_full_disk_does_not_end_a_training_either(
    small_disk: Path, few: TensorSplits
) -> None:
    (small_disk / "filler").write_bytes(bytes(150_000))
    log, handler = logging.getLogger("nas.search"), FullLog()
    log.addHandler(handler)
    try:
        assert trained(config_of(), few, small_disk, every_s=0).finished
    finally:
        log.removeHandler(handler)


def test_the_time_limit_counts_what_was_trained_before(tmp_path: Path, few: TensorSplits) -> None:
    config = config_of(search={"training_limit_s": 1000})
    killed_after(2, config, few, tmp_path)
    tight = replace(config, search=replace(config.search, training_limit_s=1e-9))

    with pytest.raises(TrainingTooLongError, match=r"search.training_limit_s \(=1e-09\)"):
        trained(tight, few, tmp_path)
    file = tmp_path / f"{KEY}.safetensors"
    recipe = Recipe(GRAPH, config.training, data_fingerprint(few), "cpu")
    spent_s = from_bytes(file.read_bytes(), recipe).seconds
    half = replace(config, search=replace(config.search, training_limit_s=spent_s / 2))
    asked = Ending(EPOCHS)
    with pytest.raises(TrainingTooLongError):
        trained(half, few, tmp_path, may_go_on=asked)
    assert not asked.asked
    assert trained(config, few, tmp_path).seconds > spent_s


# A real kill.

PROGRAM = """
import sys
from pathlib import Path
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from tests.nas.training.test_candidate import KILLED, candidate_of, killed_config
from tests.nas.parts.trainings import few_digits

def tell(key, values, report):
    print(report.epoch, flush=True)
    return True

if __name__ == "__main__":
    checkpoints = FolderCheckpoints(Path(sys.argv[1]))
    training = LocalTraining(killed_config(), few_digits(), checkpoints, tell, every_s=0)
    training(candidate_of(KILLED), {})
    print("end", flush=True)
"""
KILLED = dropping_net(PRECISIONS["w4a4"])


def killed_config() -> RunConfig:
    training = {"epochs": 30, "fp32_epochs": 2, "batch_size": 32}
    return tiny(training=training).config()


def kill_after(epoch: int, folder: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == str(epoch):
                break
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_kill_9_again_and_again_changes_no_bit(
    tmp_path: Path, few: TensorSplits, said: pytest.LogCaptureFixture
) -> None:
    config = killed_config()
    for epoch in (3, 12):  # the second goes on from the first
        kill_after(epoch, tmp_path)

    result = LocalTraining(config, few, FolderCheckpoints(tmp_path))(candidate_of(KILLED), {})

    assert "goes on after epoch" in said.text
    check_same(
        result,
        LocalTraining(config, few, FolderCheckpoints(tmp_path / "x"))(candidate_of(KILLED), {}),
    )


# What the evaluator makes of it.


class OnlyBefore:
    """A latency that must not be asked for after training."""

    def before_training(self, graph: Graph) -> Finding:
        return Finding(Latency(1.0, 0.1, "measured", CONDITIONS))

    def after_training(
        self, graph: Graph, finding: Finding, values: Mapping[str, float]
    ) -> Finding:
        raise AssertionError("a stopped candidate needs no second latency")


def test_a_training_that_ends_early_is_filed_as_stopped_and_its_checkpoint_dropped(
    tmp_path: Path, few: TensorSplits
) -> None:
    file = tiny(training={"epochs": EPOCHS, "batch_size": 32})
    run = create_run(tmp_path / "tiny", to_yaml(file))
    checkpoints = FolderCheckpoints(run.checkpoints)
    known: list[Mapping[str, float]] = []

    def only_two(key: str, values: Mapping[str, float], report: EpochReport) -> bool:
        known.append(dict(values))
        assert report.epoch == 1 or checkpoints.load(key) is not None
        return report.epoch < 2

    training = LocalTraining(file.config(), few, checkpoints, only_two, every_s=0)
    evaluator = Evaluator(file.config(), training, OnlyBefore(), run)

    evaluation = evaluator.evaluate(candidate_of(GRAPH))

    assert (evaluation.status, evaluation.epochs) == ("stopped", 2)
    assert evaluation.reason == f"stopped after 2 of {EPOCHS} epochs by early stopping"
    assert not evaluation.feasible
    assert run.load_evaluation(KEY) == evaluation
    assert run.load_model(KEY).graph == GRAPH
    assert known[0]["latency_ms"] == 1.0
    assert "accuracy" not in known[0]
    assert checkpoints.load(KEY) is None


def test_the_checkpoint_of_a_candidate_that_fails_is_dropped_too(
    tmp_path: Path, few: TensorSplits
) -> None:
    limits = {"training_limit_s": 1000}
    file = tiny(training={"epochs": EPOCHS, "batch_size": 32}, search=limits)
    config = file.config()
    run = create_run(tmp_path / "tiny", to_yaml(file))
    killed_after(2, config, few, run.checkpoints)
    tight = replace(config, search=replace(config.search, training_limit_s=1e-9))
    training = LocalTraining(tight, few, FolderCheckpoints(run.checkpoints))

    evaluation = Evaluator(tight, training, None, run).evaluate(candidate_of(GRAPH))

    assert evaluation.status == "infeasible"
    assert not list(run.checkpoints.iterdir())
