"""The program beside exported files: quiet, in one line about what is wrong, and never a crash."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.export.verify import environment
from nas.export.write import export_network
from tests.nas.parts.runs import make_trained_run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    results, setting = make_trained_run(place)
    report = export_network(
        results, results.front[0], place / "out", setting=setting, measure=False
    )
    for name, value in (("photo", 200), ("dark", 10)):
        Image.fromarray(np.full((9, 7), value, np.uint8)).save(place / "out" / f"{name}.png")
    return report.folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "export")


def predict(folder: Path, *words: str, code: int = 1) -> str:
    """What the program says; only what it prints where ``code`` is 0."""
    command = [sys.executable, str(folder / "predict.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=folder)
    assert done.returncode == code, done.stderr
    if code == 0:
        assert done.stderr == ""
        return done.stdout
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.slow
def test_what_is_no_picture_is_named_in_one_line(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:40])
    (folder / "text.png").write_text("hello")

    assert "none.png is not there" in predict(folder, "none.png")
    assert ". is a folder; give image files" in predict(folder, ".")
    assert "broken.png is no image that can be read" in predict(folder, "broken.png")
    assert "text.png is no image that can be read" in predict(folder, "text.png")


def test_inputs_of_another_shape_or_none_are_named(folder: Path) -> None:
    np.save(folder / "x.npy", np.zeros((2, 3, 8, 8), np.float32))

    assert "must hold float32 of shape" in predict(folder, "x.npy", "--logits", "y.npy")
    assert "z.npy is no .npy file" in predict(folder, "z.npy", "--logits", "y.npy")
    assert not (folder / "y.npy").exists()


@pytest.mark.parametrize(
    ("runtime", "file"),
    [("onnx", "model.onnx"), ("tvm", "model.so"), ("torch", "model.safetensors")],
)
def test_a_damaged_file_is_refused_before_it_is_loaded(
    folder: Path, runtime: str, file: str
) -> None:
    data = (folder / file).read_bytes()
    for damaged in (data[: len(data) // 2], data[:-100] + bytes(100)):
        (folder / file).write_bytes(damaged)
        said = predict(folder, "--runtime", runtime, "photo.png")
        assert f"{file} is not the file that was exported" in said


@pytest.mark.slow
def test_a_processor_that_lacks_an_instruction_set_is_told_which(folder: Path) -> None:
    change(folder, lambda data: data["processor"]["features"].append("amx-of-tomorrow"))
    predict(folder, "--runtime", "tvm", "photo.png", code=0)  # LLVM knows nothing of it

    missing = "tbm" if os.uname().machine == "x86_64" else "sme2p1"
    change(folder, lambda data: data["processor"]["features"].append(missing))
    said = predict(folder, "--runtime", "tvm", "photo.png")
    assert f"model.so needs {missing}, which this processor does not have" in said


def test_a_folder_without_its_network_or_papers_is_told(folder: Path) -> None:
    (folder / "metadata.json").write_text("{")
    assert "cannot be run (JSONDecodeError" in predict(folder, "photo.png")
    for name in ("model.onnx", "model.so", "model.safetensors"):
        (folder / name).unlink()
    assert "holds no exported network" in predict(folder, "photo.png")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no sets of processors here")
@pytest.mark.parametrize("runtime", ["onnx", "tvm", "torch"])
def test_it_is_quiet_and_takes_one_thread_on_one_processor(folder: Path, runtime: str) -> None:
    program = (
        "import os, sys\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    command = [sys.executable, "-c", program, str(folder / "predict.py"), "--runtime", runtime]
    done = subprocess.run(
        [*command, str(folder / "photo.png"), str(folder / "dark.png")],
        capture_output=True,
        text=True,
        env=environment()
        | {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 2
    assert not [path for path in folder.rglob("*") if "telemetry" in path.name.lower()]


def change(folder: Path, how: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((folder / "metadata.json").read_text())
    how(data)
    (folder / "metadata.json").write_text(json.dumps(data))
