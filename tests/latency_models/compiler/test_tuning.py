"""Tuning: a tile is timed once, kept on disk, and a damaged file costs nothing but time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency_models.compiler.tuning import Tuner, read_tiles
from latency_models.devices.cpu import host_cpu
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.kernel import TiledKernel
from latency_models.kernels.view import Form, View

END = Epilogue((View(24, 7, 7),))
CODES = View(24, 7, 7, form=Form("codes", 8, 128))
CONV = Conv2dKernel(View(16, 7, 7), END)
DEPTHWISE = DepthwiseKernel(View(16, 7, 7, 1), Epilogue((View(16, 7, 7),)), (3, 3), (1, 1), (1, 1))
INTEGER = IntegerConvKernel(
    View(16, 7, 7, form=Form("codes", 8)), Epilogue((CODES,), "relu", CODES, scaled=True)
)
BITS = BitConvKernel(
    View(64, 7, 7, form=Form("planes", 1)),
    Epilogue((View(24, 7, 7, form=Form("planes", 1)),), scaled=True),
    weight_bits=1,
)
SIGNS = SignConvKernel(View(16, 7, 7), replace(END, scaled=True))


@pytest.mark.parametrize(
    "kernel", [CONV, DEPTHWISE, INTEGER, BITS, SIGNS], ids=lambda kernel: type(kernel).__name__
)
def test_the_best_tile_is_a_candidate_and_is_kept(
    kernel: TiledKernel[Any], tmp_path: Path
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
