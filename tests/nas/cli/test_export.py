"""From a run to files: from any folder, by paths of any letters, with numbers that make sense."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.problem.run_file import read_run_file
from tests.nas.parts.command_line import nas

RUN_FILE = """\
name: moved
data: {kind: npz, path: data/d.npz, train: 100, validation: 50, test: 50}
space:
  resolution: 8
  stem: {width: 8}
  stages: [{depth: 1, width: 8, blocks: [plain]}]
training: {epochs: 6, warmup_epochs: 5, batch_size: 50, device: cpu}
objectives: [accuracy, macs]
search: {trials: 1, initial: 1}
"""


SURE = r"\d+\.\d\d % \(\d+\.\d to \d+\.\d %\)"  # an accuracy with its interval


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brackets in its name, with data, and a search that has ended."""
    place = tmp_path_factory.mktemp("searched [final]")
    (place / "data").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8)
    np.savez(place / "data/d.npz", images=images, labels=np.arange(200) % 4)
    (place / "run.yaml").write_text(RUN_FILE)
    nas("search", "run.yaml", "--runs", "[red]runs", at=place)
    return place


@pytest.fixture
def run(searched: Path) -> str:
    return str(searched / "[red]runs/moved")


def test_a_run_keeps_where_its_data_is(searched: Path, run: str, tmp_path: Path) -> None:
    kept = read_run_file(Path(run) / "config.yaml").data.model_extra
    assert kept is not None
    assert kept["path"] == str(searched / "data/d.npz")

    to = str(tmp_path / "[b]w8a8[/x]")
    said = nas("quantize", run, "--no-measure", "--formats", "onnx", "--to", to, at=tmp_path)
    assert f"exported to {to}" in said
    size = (Path(to) / "model.onnx").stat().st_size
    assert f"{size:,}" in said
    for row in ("fp32", "w8a8"):
        assert re.search(rf"^{row} +{SURE}", said, re.MULTILINE)
    assert re.search(rf"^stem +w8a8 +{SURE}", nas("sensitivity", run, at=tmp_path), re.MULTILINE)
    said = nas("export", run, "--formats", "onnx", "--no-measure", "--to", f"{to}2", at=tmp_path)
    assert f"exported to {to}2" in said


def test_a_search_goes_on_from_another_folder(searched: Path, tmp_path: Path) -> None:
    words = ("search", str(searched / "run.yaml"), "--runs", str(searched / "[red]runs"))
    said = nas(*words, "--resume", "--trials", "1", at=tmp_path)

    assert "no such" not in said
    shutil.copy(searched / "data/d.npz", tmp_path / "same.npz")
    nas(*words, "--resume", "--trials", "1", "--data", "same.npz", at=tmp_path)
    images = np.zeros((200, 8, 8, 1), np.uint8)
    images[::2] = 9
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(200) % 4)
    said = nas(*words, "--resume", "--data", "other.npz", at=tmp_path, code=2)
    assert "images differ from those that the search saw" in said
    kept = read_run_file(searched / "[red]runs/moved/config.yaml").data.model_extra
    assert kept is not None
    assert kept["path"] == str(tmp_path / "same.npz")
    nas(*words, "--resume", "--data", str(searched / "data/d.npz"), at=tmp_path)


def test_data_that_was_moved_is_found_where_it_is_said_to_be(
    searched: Path, run: str, tmp_path: Path
) -> None:
    own = tmp_path / "moved"
    shutil.copytree(run, own)
    config = (own / "config.yaml").read_text()
    (own / "config.yaml").write_text(config.replace("data/d.npz", "gone/d.npz"))

    said = nas("sensitivity", str(own), at=tmp_path, code=2)
    assert f"its data is not at {searched}/gone/d.npz (data.path); say where" in said
    assert "stem" in nas(
        "sensitivity", str(own), "--data", str(searched / "data/d.npz"), at=tmp_path
    )


def test_a_warm_up_that_is_longer_than_the_training_is_shortened(run: str, tmp_path: Path) -> None:
    said = nas("retrain", run, "--epochs", "3", at=tmp_path)

    assert "warm-up shortened from 5 to 2.5 epochs, its share of the recipe's 6" in said
    assert "3 epochs in" in said
    assert re.search(rf"^validation accuracy {SURE}$", said, re.MULTILINE)
    assert re.search(rf"^test accuracy {SURE}$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("quantize", "RUN", "--images", "-5"), "--images must be at least 2, got -5"),
        (("sensitivity", "RUN", "--images", "0"), "--images must be at least 2, got 0"),
        (("retrain", "RUN", "--epochs", "0"), "--epochs must be at least 1, got 0"),
        (("export", "RUN", "--to", "x", "--batch", "0"), "--batch must be at least 1, got 0"),
        (("quantize", "RUN", "--layer", "stem"), "--layer must read LAYER=PRECISION"),
        (("quantize", "RUN", "--max-accuracy-drop", "2"), "from 0 up to 1 (one point is 0.01)"),
        (("search", "run.yaml", "--trials", "-1"), "--trials must be at least 1, got -1"),
        (("search", "run.yaml", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("space", "sample", "run.yaml", "--count", "-2"), "--count must be at least 1, got -2"),
        (("networks", "--resolution", "0"), "--resolution must be at least 1, got 0"),
        (("cluster", "up", "--nodes", "65"), "--nodes must be from 1 to 64, got 65"),
        (("device", "add", "x", "--threads", "0"), "--threads must be at least 1, got 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_one_line(
    words: tuple[str, ...], told: str, run: str, searched: Path
) -> None:
    said = nas(*(run if word == "RUN" else word for word in words), at=searched, code=2)

    assert told in said
    assert said.count("\n") == 1
