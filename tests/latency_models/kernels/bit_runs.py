"""Runs convolutions of bit planes, and tells what they should write, from an integer oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.cpu import Cpu
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.epilogue import CodeStep, EpilogueValues, SignNorm, TargetValues
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.operators import Conv2d
from tests.integer_oracle import activated, windows_dot
from tests.latency_models.kernels.kernel_runs import run_kernel

Array = NDArray[Any]
F = np.float32
RESIDUAL_STEP = 0.07


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a kernel computes with; maps as they lie in memory, (C, H, W)."""

    codes: Array
    weights: NDArray[np.int8]
    values: EpilogueValues
    residual: Array | None = None
    factor: Array | None = None


def random_numbers(kernel: BitConvKernel, rng: np.random.Generator) -> Numbers:
    """Numbers of which every epilogue makes every code; some channels do not depend on sums."""
    end, channels = kernel.epilogue, kernel.target.channels
    codes = rng.integers(0, kernel.source.form.highest + 1, size=kernel.source.shape)
    residual = factor = None
    if end.residual is not None:
        residual = map_values(end.residual, rng)
    if end.factor is not None:
        factor = rng.uniform(0.5, 2, size=end.factor.shape).astype(F)
    size = np.sqrt(kernel.terms) * (2 if kernel.source.form.bits == 2 else 1)
    scale, bias = rng.normal(size=(2, channels)).astype(F)
    gain, offset = rng.normal(size=(2, channels)).astype(F)
    scale[rng.random(channels) < 0.1] = 0
    gain[rng.random(channels) < 0.1] = 0
    targets: list[TargetValues] = [
        None
        if view.form == REAL
        else SignNorm(gain, offset)
        if view.form.bits == 1
        else CodeStep.of(4 / view.form.highest)
        for view in end.targets
    ]
    values = EpilogueValues(tuple(targets), scale / F(size), bias, RESIDUAL_STEP)
    return Numbers(codes, random_weights(kernel, rng), values, residual, factor)


def map_values(view: View, rng: np.random.Generator) -> Array:
    if view.form == REAL:
        return rng.normal(size=view.shape).astype(F)
    return rng.integers(0, view.form.highest + 1, size=view.shape)


def weight_shape(kernel: BitConvKernel) -> tuple[int, ...]:
    return (kernel.target.channels, kernel.in_channels, *kernel.kernel_size)


def random_weights(kernel: BitConvKernel, rng: np.random.Generator) -> NDArray[np.int8]:
    choices = np.array([-1, 1] if kernel.weight_bits == 1 else [-2, -1, 0, 1], np.int8)
    return rng.choice(choices, size=weight_shape(kernel))


def run(kernel: BitConvKernel, cpu: Cpu, numbers: Numbers, choice: int = 0) -> list[Array]:
    """Returns what the kernel writes to each target, cut into one of its tiles."""
    unit, end = cpu.vector_unit, kernel.epilogue
    tiles = kernel.candidate_tiles(unit, 8)
    tile = tiles[choice % len(tiles)]
    maps: dict[str, tuple[View, Array | None]] = {"source": (kernel.source, numbers.codes)}
    if end.factor is not None:
        maps["factor"] = end.factor, numbers.factor
    if end.residual is not None:
        maps["residual"] = end.residual, numbers.residual
    maps |= {f"target{index}": (view, None) for index, view in enumerate(end.targets)}
    constants: dict[str, Array] = {
        "weights": kernel.pack(numbers.weights, unit, tile),
        "constants": end.pack(numbers.values, kernel.padded_channels(unit), kernel.places(unit)),
    }
    return run_kernel(kernel, cpu, maps, constants, tile)


def sums(kernel: BitConvKernel, codes: Array, weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """The exact sums (O, H, W)."""
    form = kernel.source.form
    signs = form.bits == 1
    numbers = 2 * codes.astype(np.int64) - 1 if signs else codes.astype(np.int64) - form.zero
    operator = Conv2d(
        len(weights),
        kernel.kernel_size,
        kernel.stride,
        kernel.padding,
        kernel.dilation,
        kernel.groups,
    )
    found = windows_dot(operator, numbers[None], weights.astype(np.int64), -1 if signs else 0)
    return found[0]


def results(kernel: BitConvKernel, numbers: Numbers) -> Array:
    """The result (O, H, W) of the epilogue, each operation in float32."""
    end, each = kernel.epilogue, (slice(None), None, None)
    assert numbers.values.scale is not None
    assert numbers.values.bias is not None
    result = sums(kernel, numbers.codes, numbers.weights).astype(F) * numbers.values.scale[each]
    if numbers.factor is not None:
        result = result * numbers.factor
    result = result + numbers.values.bias[each]
    if numbers.residual is not None and end.residual is not None:
        residual = numbers.residual
        if end.residual.form != REAL:
            residual = (residual - end.residual.form.zero).astype(F) * F(RESIDUAL_STEP)
        result = result + residual
    return activated(end.activation, result)


def written(form: Form, value: TargetValues, result: Array) -> Array:
    """What a target of one form holds of a result."""
    if isinstance(value, SignNorm):
        return result * value.gain[:, None, None] + value.bias[:, None, None] >= 0
    if isinstance(value, CodeStep):
        return np.clip(np.rint(result * F(value.inverse)) + form.zero, 0, form.highest)
    return result


def check(kernel: BitConvKernel, cpu: Cpu, numbers: Numbers, choice: int = 0) -> None:
    """Asserts that every target holds exactly what it should."""
    expected = results(kernel, numbers)
    targets: Sequence[View] = kernel.epilogue.targets
    found = run(kernel, cpu, numbers, choice)
    for view, value, result in zip(targets, numbers.values.targets, found, strict=True):
        np.testing.assert_array_equal(result, written(view.form, value, expected))
