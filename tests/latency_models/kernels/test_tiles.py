"""Tiles: those of every kernel with weights fit the registers, the best by its own count first."""

import pytest

from latency_models.devices.cpu import AVX2
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.convolution import Convolution
from latency_models.kernels.depthwise import Depthwise, DepthwiseKernel
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.view import REAL, Form, View
from tests.latency_models.parts.processors import UNITS

SIDE = 28
SIGNS, PAIRS, CODES = Form("planes", 1), Form("planes", 2), Form("codes", 8)
SCALED = Epilogue((View(96, SIDE, SIDE),), scaled=True)
WINDOW = ((3, 3), (1, 1), (1, 1), (1, 1))


def source(form: Form = REAL, channels: int = 64) -> View:
    return View(channels, SIDE, SIDE, 1, form=form)


CONVOLUTIONS: dict[str, Convolution] = {
    "fp32": Conv2dKernel(source(), Epilogue((View(96, SIDE, SIDE),)), *WINDOW),
    "bwn": SignConvKernel(source(), SCALED, *WINDOW),
    "w8a8": IntegerConvKernel(source(CODES), SCALED, *WINDOW),
    "w4a8": IntegerConvKernel(source(CODES), SCALED, *WINDOW, weight_bits=4),
    "w2a2": BitConvKernel(source(PAIRS), SCALED, *WINDOW, weight_bits=2),
    "xnor": BitConvKernel(source(SIGNS), SCALED, *WINDOW),
}
DEPTHWISE: dict[str, Depthwise] = {
    "fp32": DepthwiseKernel(source(channels=96), Epilogue((View(96, SIDE, SIDE),)), *WINDOW),
    "w8a8": IntegerDepthwiseKernel(source(CODES, 96), SCALED, *WINDOW),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_tiles_fit_the_registers_and_the_best_comes_first(name: str) -> None:
    kernel = CONVOLUTIONS[name]
    for unit in UNITS.values():
        tiles = kernel.candidate_tiles(unit, 8)

        assert tiles[0] == kernel.default_tile(unit)
        assert len(set(tiles)) == 8
        for tile in tiles:
            assert tile.rows * tile.columns * tile.vectors < unit.registers
            assert kernel.estimated_cycles(unit, tile) >= kernel.estimated_cycles(unit, tiles[0])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_tiles_of_every_usual_number_of_vectors_are_timed(name: str) -> None:
    kernel = CONVOLUTIONS[name]
    for unit in UNITS.values():
        known = {tile.vectors for tile in kernel.conv_tiles(unit)} & {1, 2, 3, 4}

        assert known <= {tile.vectors for tile in kernel.candidate_tiles(unit, 8)}


def test_sixteen_registers_are_used_by_tiles_that_stay_in_them() -> None:
    """As timed on a Zen 3: 2,710 to 2,760 us at 64 channels of 56 x 56, 4,820 with 1 x 12 x 1."""
    real = Conv2dKernel(View(64, 56, 56, 1), Epilogue((View(64, 56, 56),)), *WINDOW)

    tile = real.default_tile(AVX2)

    assert (tile.columns, tile.vectors) in {(6, 2), (5, 2), (2, 4)}


@pytest.mark.parametrize("name", DEPTHWISE)
def test_tiles_of_depthwise_kernels_fit_their_map(name: str) -> None:
    kernel = DEPTHWISE[name]
    for unit in UNITS.values():
        tiles = kernel.candidate_tiles(unit, 8)

        assert tiles[0] == kernel.default_tile(unit)
        assert len(set(tiles)) == len(tiles)
        assert all(tile.rows <= SIDE and tile.columns <= SIDE for tile in tiles)
