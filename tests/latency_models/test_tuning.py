"""Tuning: a tile is timed once, kept on disk, and a damaged file costs nothing but time."""

from pathlib import Path

import pytest

from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.cpu import host_cpu
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.view import View
from latency_models.tuning import Tuner, read_tiles

CONV = Conv2dKernel(View(16, 7, 7), View(24, 7, 7))
DEPTHWISE = DepthwiseKernel(View(16, 7, 7, 1), View(16, 7, 7), (3, 3), (1, 1), (1, 1))


@pytest.mark.parametrize("kernel", [CONV, DEPTHWISE], ids=["conv2d", "depthwise"])
def test_the_best_tile_is_a_candidate_and_is_kept(
    kernel: Conv2dKernel | DepthwiseKernel, tmp_path: Path
) -> None:
    path = tmp_path / "cache" / "tiles.jsonl"
    unit = host_cpu().vector_unit

    tile = Tuner(host_cpu(), path).best_tile(kernel)

    assert tile in kernel.candidate_tiles(unit, 8)
    assert len(path.read_text().splitlines()) == 1
    assert Tuner(host_cpu(), path).best_tile(kernel) == tile
    assert len(path.read_text().splitlines()) == 1, "it was timed again"


def test_a_damaged_file_is_told_and_ignored(tmp_path: Path) -> None:
    path = tmp_path / "tiles.jsonl"
    tile = Tuner(host_cpu(), path).best_tile(CONV)
    path.write_text(path.read_text() + '{"key": "half a li\n[]\n')

    with pytest.warns(UserWarning, match="2 lines cannot be read and are ignored"):
        tuner = Tuner(host_cpu(), path)

    assert tuner.best_tile(CONV) == tile


def test_a_tile_of_unknown_fields_is_timed_again(tmp_path: Path) -> None:
    path = tmp_path / "tiles.jsonl"
    Tuner(host_cpu(), path).best_tile(CONV)
    path.write_text(path.read_text().replace('"rows"', '"lines"'))

    with pytest.warns(UserWarning, match="holds a tile that is none"):
        tile = Tuner(host_cpu(), path).best_tile(CONV)

    assert tile in CONV.candidate_tiles(host_cpu().vector_unit, 8)


def test_a_missing_file_knows_nothing(tmp_path: Path) -> None:
    assert read_tiles(tmp_path / "none.jsonl") == {}
