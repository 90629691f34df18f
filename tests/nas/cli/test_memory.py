"""Commands that need no pixels read none, however many there are; others hold them once."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.format import open_memmap

from nas.problem.search_problem import load_setting
from tests.nas.parts.command_line import nas
from tests.nas.parts.runs import make_run, run_file

SIDE, COUNT = 64, 8192
PIXEL_BYTES = COUNT * SIDE * SIDE * 3  # 100 MB
RUN_FILE = """\
name: large
data: {kind: npz, path: large.npz}
space:
  resolution: 64
  stem: {width: 8}
  stages: [{depth: [1, 2], width: [8, 16], stride: 2, blocks: [plain]}]
training: {epochs: 1}
objectives: [accuracy, macs]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with large data, a run file that names it, and a run on it."""
    folder = tmp_path_factory.mktemp("large")
    pixels = open_memmap(folder / "x.npy", "w+", np.uint8, (COUNT, SIDE, SIDE, 3))
    pixels[:, 0] = 255
    np.savez(folder / "large.npz", images=pixels, labels=np.arange(COUNT) % 3)
    (folder / "large.yaml").write_text(RUN_FILE)
    data = {"kind": "npz", "path": str(folder / "large.npz")}
    make_run(folder / "runs", file=run_file("large", trials=3, data=data), trials=3)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("space", "show", "large.yaml"),
        ("space", "sample", "large.yaml", "--count", "1", "--save", "samples"),
        ("front", "runs/large"),
        ("status", "runs/large"),
        ("runs", "runs"),
        ("data", "cache"),
    ],
)
def test_a_command_that_needs_no_pixels_takes_no_memory_for_them(
    words: tuple[str, ...], place: Path
) -> None:
    nas(*words, at=place)  # what it imports is not to be counted
    tracemalloc.start()
    try:
        nas(*words, at=place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < PIXEL_BYTES / 10


def test_data_is_in_memory_once(place: Path) -> None:
    """Its pixels are mapped from the disk, where all processes share them."""
    data = {"kind": "npz", "path": str(place / "large.npz")}
    config = run_file("large", data=data).config()
    tracemalloc.start()
    try:
        setting = load_setting(config)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sum(map(len, (setting.splits.train, setting.splits.test))) > COUNT / 2
    assert peak < 0.3 * PIXEL_BYTES
