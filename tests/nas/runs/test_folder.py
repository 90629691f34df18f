"""A run's files are whole or not there, and damage is named."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latency_models.devices.latency import Latency
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.files import DiskFullError, remove_parts, write_whole
from nas.runs.folder import RunFolder, create_run, has_run, open_run
from nas.runs.lock import is_locked, lock_run
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from tests.nas.parts.disks import file_system
from tests.nas.parts.runs import CONDITIONS, baseline
from tests.waiting import PATIENCE_S


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", "name: run\n")


@pytest.fixture
def architecture() -> Architecture:
    return baseline("small", 4)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, so that it is really full."""
    with file_system(tmp_path / "disk", "64k") as place:
        yield place


def evaluation(key: str) -> Evaluation:
    return Evaluation(
        key,
        "infeasible",
        "macs <= 1 is violated by 2",
        {"macs": 2.0, "accuracy": 0.1},
        {"macs <= 1": 1.0},
        Latency(1.0, 0.1, "measured", CONDITIONS),
        3,
        (0.1, 0.2, 0.1),
        {"cost": 0.5},
    )


def test_an_evaluation_survives_writing_and_reading(
    run: RunFolder, architecture: Architecture
) -> None:
    key = graph_hash(architecture.graph)
    model = random_model(architecture.graph, np.random.default_rng(0))

    run.save_evaluation(architecture, evaluation(key), model.arrays)

    assert run.load_evaluation(key) == evaluation(key)
    assert run.load_architecture(key) == architecture
    assert run.load_architecture(key).graph == architecture.graph
    arrays = run.load_model(key).arrays
    assert arrays.keys() == model.arrays.keys()
    assert all(np.array_equal(arrays[name], model.arrays[name]) for name in arrays)


def test_weights_may_be_views_of_other_arrays(run: RunFolder, architecture: Architecture) -> None:
    key = graph_hash(architecture.graph)
    model = random_model(architecture.graph, np.random.default_rng(0))
    turned = {name: np.asfortranarray(array) for name, array in model.arrays.items()}

    run.save_evaluation(architecture, evaluation(key), turned)

    arrays = run.load_model(key).arrays
    assert all(np.array_equal(arrays[name], model.arrays[name]) for name in arrays)


def test_an_evaluation_is_json_that_holds_everything() -> None:
    data = json.loads(json.dumps(evaluation_to_json(evaluation("k"))))

    assert evaluation_from_json(data) == evaluation("k")


def test_what_was_never_evaluated_or_trained_is_said_to_be_so(
    run: RunFolder, architecture: Architecture
) -> None:
    key = graph_hash(architecture.graph)
    assert run.load_evaluation(key) is None

    run.save_evaluation(architecture, evaluation(key), None)

    with pytest.raises(UserError, match=f"architecture {key} has no weights in .*: it was not tr"):
        run.load_model(key)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"hash": "x"}', "null"])
def test_a_damaged_evaluation_is_named_with_the_way_on(run: RunFolder, content: str) -> None:
    run.evaluation_file("k").write_text(content)

    with pytest.raises(UserError, match=r"k\.json is damaged .*delete it and go on with --resume"):
        run.load_evaluation("k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": {"accuracy": float("-inf")}}, r"values\['accuracy'\] must be a finite number"),
        ({"values": {"accuracy": "0.9"}}, r"values\['accuracy'\] must be a finite number"),
        ({"values": []}, "values must be a mapping"),
        ({"status": "done"}, "status must be one of"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"accuracy_history": [None]}, r"accuracy_history\[0\] must be a finite number"),
        ({"seconds": {"training": None}}, r"seconds\['training'\] must be a finite number"),
        ({"latency": 3}, "this is no latency"),
        ({"hash": "other"}, "it is of 'other'"),
    ],
)
def test_a_field_of_another_kind_is_found_when_an_evaluation_is_read(
    run: RunFolder, change: dict[str, object], message: str
) -> None:
    data = evaluation_to_json(evaluation("k"))
    run.evaluation_file("k").write_text(json.dumps(data))
    assert run.load_evaluation("k") == evaluation("k")

    run.evaluation_file("k").write_text(json.dumps(data | change))

    with pytest.raises(UserError, match=rf"k\.json is damaged \(.*{message}.*delete it") as caught:
        run.load_evaluation("k")
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(run: RunFolder, architecture: Architecture) -> None:
    key = graph_hash(architecture.graph)
    model = random_model(architecture.graph, np.random.default_rng(0))
    run.save_evaluation(architecture, evaluation(key), model.arrays)
    path = run.weights_file(key)
    whole = path.read_bytes()

    for content in (b"", whole[:-10], b"nonsense" * 20):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{key}.safetensors is damaged"):
            run.load_model(key)


def test_a_second_run_does_not_overwrite_the_first(run: RunFolder) -> None:
    with pytest.raises(UserError, match="already holds a run; continue it with --resume, or"):
        create_run(run.path, "name: other\n")

    assert run.config_file.read_text() == "name: run\n"


def test_a_run_that_was_killed_while_it_was_made_never_began(run: RunFolder) -> None:
    (run.path / "run.json").unlink()

    assert not has_run(run.path)
    create_run(run.path, "name: again\n")
    assert run.config_file.read_text() == "name: again\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "hwnas.run", "version": 2}', "version 2; this hwnas reads 'hwnas.run' versi"),
        ('{"format": "other", "version": 1}', "is a run of format 'other'"),
        ("{}", "is a run of format None"),
        ("{", r"run\.json is damaged"),
        ("3", r"run\.json is damaged"),
        ("[1]", r"run\.json is damaged"),
    ],
)
def test_a_newer_or_damaged_run_is_refused(run: RunFolder, content: str, message: str) -> None:
    (run.path / "run.json").write_text(content)

    with pytest.raises(UserError, match=message):
        open_run(run.path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run \(no run\.json there\)"):
        open_run(tmp_path)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"

    write_whole(path, b"one")
    write_whole(path, b"two")

    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_a_full_disk_keeps_what_was_there_and_leaves_nothing_behind(full_disk: Path) -> None:
    path = full_disk / "file"
    write_whole(path, b"small")

    with pytest.raises(DiskFullError, match=r"the disk is full: cannot write .*--resume"):
        write_whole(path, bytes(1_000_000))

    assert path.read_bytes() == b"small"
    assert os.listdir(full_disk) == ["file"]


def test_a_file_is_whole_however_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, bytes(3_000_000))
    program = (
        "import sys; from pathlib import Path; from nas.runs.files import write_whole\n"
        "for byte in range(1, 200):\n"
        "    write_whole(Path(sys.argv[1]), bytes([byte]) * 3_000_000)\n"
        "    print(byte, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        writer.kill()

    content = path.read_bytes()
    assert len(content) == 3_000_000
    assert len(set(content)) == 1
    remove_parts(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def hold_lock(run: RunFolder, ready: "multiprocessing.synchronize.Event") -> None:
    with lock_run(run):
        ready.set()
        signal.pause()


def test_a_lock_keeps_others_out_until_its_holder_dies(run: RunFolder) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold_lock, args=(run, ready))
    holder.start()
    assert ready.wait(PATIENCE_S)

    assert is_locked(run)
    with (
        pytest.raises(UserError, match=f"is being searched by process {holder.pid}; wait for it"),
        lock_run(run),
    ):
        pass

    holder.kill()
    holder.join()
    assert not is_locked(run)
    with lock_run(run):
        assert is_locked(run)
    assert not is_locked(run)


def test_asking_for_the_lock_writes_nothing(run: RunFolder) -> None:
    before = sorted(run.path.iterdir())

    assert not is_locked(run)

    assert sorted(run.path.iterdir()) == before


@pytest.mark.parametrize("key", ["../../secret", "/etc/passwd", "", "a/b", ".", "a.b"])
def test_a_hash_names_no_file_outside_its_folder(run: RunFolder, key: str) -> None:
    for file in (run.architecture_file, run.evaluation_file, run.weights_file):
        with pytest.raises(UserError, match="must be letters and digits, got"):
            file(key)


def test_a_run_is_shared_only_by_those_that_join(run: RunFolder) -> None:
    with lock_run(run) as first:
        assert first.is_alone
        with pytest.raises(UserError, match="join it with --join"), lock_run(run):
            pass
        first.share()
        assert not first.is_alone
        assert is_locked(run)
        with lock_run(run, join=True) as second:
            assert not second.is_alone
            second.share()
            with pytest.raises(UserError, match=r"searched by processes \d+, \d+"), lock_run(run):
                pass
        assert is_locked(run)
    assert not is_locked(run)
    with lock_run(run, join=True) as alone:
        assert alone.is_alone
