"""``nas compress``: of runs too, and from a torch network to a faster file as the page has it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.compression.running.folder import CompressionFolder
from nas.models.folder import read_model
from nas.search.run import run_search
from nas.study.results import RunResults
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.command_line import nas
from tests.nas.parts.compressions import network_folder, recipe_file, recipe_of
from tests.nas.parts.tiny import tiny

PAGE = (Path(__file__).parents[4] / "docs/compress.md").read_text()
SECTION = PAGE.partition("## From a torch ResNet")[2].partition("\n## ")[0]
NETWORK = """
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
).eval()
"""


@pytest.fixture
def searched(tmp_path: Path, digits_file: dict[str, Any]) -> RunResults:
    """A run whose front has several networks, with their weights."""
    file = tiny(data=digits_file | {"train": 96, "validation": 64, "test": 64})
    return run_search(file, tmp_path / "runs")


def test_the_picked_network_of_a_run_is_compressed(
    searched: RunResults, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe_file(tmp_path / "r.yaml", recipe_of([{"narrow": {"factor": 0.5}}], digits_file))
    picks = {which: searched.pick(which).hash for which in ("best", "fastest")}
    assert len(set(picks.values())) == 2

    for which, key in picks.items():
        words = ("r.yaml", "--to", which, "--no-measure", "--pick", which)
        said = nas("compress", str(searched.run.path), *words, at=tmp_path)

        folder = CompressionFolder(tmp_path / which)
        original = read_model(folder.original)
        assert graph_hash(original.model.graph) == key
        weights = searched.run.load_model(key)
        for name, array in original.model.arrays.items():
            assert np.array_equal(array, weights.arrays[name])
        sure = r"\d+\.\d\d % \(\d+\.\d to \d+\.\d %\)"
        assert re.search(rf"{sure} +{sure}", said), said

    said = nas("compress", str(searched.run.path), "r.yaml", "--pick", "none", at=tmp_path, code=2)
    assert said.count("\n") == 1
    network_folder(tmp_path / "m")
    said = nas("compress", "m", "r.yaml", "--pick", "best", at=tmp_path, code=2)
    assert said == "error: --pick is for run folders, m is none; leave it out\n"


def test_ctrl_c_says_how_to_go_on_with_all_that_was_given(
    digits_file: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.models.compress.watched", interrupted)
    recipe_file(tmp_path / "r.yaml", recipe_of(["finetune"], digits_file))
    network_folder(tmp_path / "a net")
    given = ["--to", "out", "--data", digits_file["path"], "--set", "training.epochs=2"]

    said = nas("compress", "a net", "r.yaml", *given, "--no-measure", at=tmp_path, code=1)

    again = shlex.split(said.splitlines()[-1].removeprefix("stopped; go on with: "))
    assert again == ["nas", "compress", "a net", "r.yaml", *given, "--no-measure", "--resume"]


def photos(root: Path, each: int) -> None:
    """A folder of dark cats and bright dogs, of two sizes."""
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 160)):
        (root / name).mkdir(parents=True)
        for index in range(each):
            size = (40, 48, 3) if index % 2 else (32, 32, 3)
            pixels = rng.integers(shade - 40, shade + 40, size).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.jpg")


def commands() -> list[str]:
    (block,) = re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)
    return block.strip().splitlines()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_four_commands_of_the_page_lead_from_a_torch_network_to_a_faster_file(
    tmp_path: Path,
) -> None:
    """As the page has them, but with a small network, one epoch, and nothing timed."""
    pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
    (tmp_path / "resnet.py").write_text(NETWORK)
    photos(tmp_path / "photos", each=40)
    (recipe,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert "epochs: 20" in recipe
    (tmp_path / "photos.yaml").write_text(recipe.replace("epochs: 20", "epochs: 1"))
    export, bring, compress, predict = commands()

    small = export.replace("224, 224", "32, 32")
    assert small != export
    done = subprocess.run(
        [sys.executable, *shlex.split(small)[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = nas(*shlex.split(bring)[1:], at=tmp_path)
    assert "imported to resnet" in said
    said = nas(*shlex.split(compress)[1:], "--no-measure", at=tmp_path)
    assert "result: runs/photos/result" in said
    photo = next((tmp_path / "photos").rglob("*.jpg"))
    Image.open(photo).save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, *shlex.split(predict)[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert photo.parent.name in done.stdout

    bought = json.loads((tmp_path / "runs/photos/summary.json").read_text())["bought"]
    assert bought["params"] > 1.5
    assert bought["bytes"] > 4
    assert bought["points"] <= 0.5
