"""Kernels with weights in a few shapes, with all their targets, and what they should write.

Each case fixes a kernel and its numbers; ``run_case`` runs it on a processor and compares every
target. Integer sums must be exact; what follows from a result (its codes, its sign bits) must be
exact for every kind of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.cpu import Cpu
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.epilogue import Epilogue, EpilogueValues
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.operators import Size, window_size
from search_spaces.quantization.codes import weight_limits
from tests.integer_oracle import activated
from tests.latency_models.kernels.kernel_runs import assert_close, run_kernel
from tests.latency_models.kernels.kernel_targets import (
    NIBBLES,
    PAIRS,
    SIGNED,
    SIGNED_NIBBLES,
    SIGNED_PAIRS,
    SIGNS,
    TARGETS,
    UNSIGNED,
    sign_norm,
    target_values,
    values_of,
    written,
)
from tests.latency_models.parts import oracle

Array = NDArray[Any]
F = np.float32
RESIDUAL_STEP = 0.07


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel with weights.

    Attributes:
        kind: Its class.
        form: Of the map that it reads.
        weight_bits: Of integer weights; 1 for signs, 32 for real ones.
        channels: Of the map that it reads, and of those that it writes.
        size: Height and width of the map that it reads.
        residual: Form of a map that is added; None for none.
        factor: Whether results are multiplied by a map of one channel.
    """

    kind: Any
    form: Form
    weight_bits: int
    channels: tuple[int, int]
    size: Size
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    padding: Size = (1, 1)
    groups: int = 1
    activation: Activation = "none"
    residual: Form | None = None
    factor: bool = False

    @property
    def depthwise(self) -> bool:
        return self.kind in (DepthwiseKernel, IntegerDepthwiseKernel)

    @property
    def exact(self) -> bool:
        """Whether sums are of integers."""
        return self.form != REAL

    @property
    def scaled(self) -> bool:
        return self.weight_bits < 32

    def kernel(self) -> Any:  # noqa: ANN401
        ins, outs = self.channels
        height, width = window_size(self.size, self.kernel_size, self.stride, self.padding, (1, 1))
        halo = max(self.padding)
        source = View(ins, *self.size, halo, self.pixel_stride(ins, self.form), form=self.form)
        targets = tuple(
            View(outs, height, width, index % 2, self.pixel_stride(outs, form), form=form)
            for index, form in enumerate(TARGETS)
        )
        residual = View(outs, height, width, 1, form=self.residual) if self.residual else None
        factor = View(1, height, width, 1) if self.factor else None
        end = Epilogue(targets, self.activation, residual, self.scaled, factor)
        geometry: list[Any] = [self.kernel_size, self.stride, self.padding, (1, 1)]
        geometry += [] if self.depthwise else [self.groups]
        if self.kind in (IntegerConvKernel, BitConvKernel):
            geometry.append(self.weight_bits)
        return self.kind(source, end, *geometry)

    @staticmethod
    def pixel_stride(channels: int, form: Form) -> int:
        """Some more than the channels take, of maps that may lie among others."""
        return 0 if form.kind == "planes" else channels + 4

    def weights(self, rng: np.random.Generator) -> Array:
        ins, outs = self.channels
        shape = (outs, 1 if self.depthwise else ins // self.groups, *self.kernel_size)
        if self.weight_bits == 32:
            return rng.normal(size=shape).astype(F)
        if self.weight_bits == 1:
            return rng.choice(np.array([-1, 1], np.int8), size=shape)
        low, high = weight_limits(self.weight_bits)
        return rng.integers(low, high + 1, size=shape).astype(np.int8)

    def sums(self, x: Array, weights: Array) -> Array:
        """What the windows sum up to, in float64; ``x`` as it lies in memory."""
        groups = self.channels[0] if self.depthwise else self.groups
        none = np.zeros(len(weights))
        taps = weights.astype(np.float64)
        if self.form.bits == 1:  # the border is -1
            shifted = oracle.convolve(
                2.0 * x, taps, none, self.stride, self.padding, (1, 1), groups
            )
            return shifted - taps.sum((1, 2, 3))[:, None, None]
        numbers = x.astype(np.float64) - self.form.zero
        return oracle.convolve(numbers, taps, none, self.stride, self.padding, (1, 1), groups)


def run_case(case: Case, cpu: Cpu, tile: object | None = None, seed: int = 0) -> None:
    """Runs a case on a processor and asserts that every target holds what it should.

    Args:
        tile: How the kernel is cut; None for its default.
    """
    rng = np.random.default_rng(seed)
    kernel, weights = case.kernel(), case.weights(rng)
    unit, shape = cpu.vector_unit, kernel.target.shape
    tile = tile or kernel.default_tile(unit)
    x = values_of(case.form, kernel.source.shape, rng)
    sums = case.sums(x, weights)
    scale = (rng.uniform(0.5, 1.5, shape[0]) / max(1.0, sums.std())).astype(F)
    bias = rng.normal(size=shape[0]).astype(F)
    norm = sign_norm(shape[0], rng)
    values = EpilogueValues(target_values(TARGETS, norm), residual_step=RESIDUAL_STEP)
    if case.scaled:
        values = replace(values, scale=scale, bias=bias)
    maps: dict[str, tuple[View, Array | None]] = {"source": (kernel.source, x)}
    factor = residual = None
    if case.factor:
        factor = rng.uniform(0.5, 2, size=(1, *shape[1:])).astype(F)
        maps["factor"] = kernel.epilogue.factor, factor
    if case.residual is not None:
        residual = values_of(case.residual, shape, rng)
        maps["residual"] = kernel.epilogue.residual, residual
    maps |= {f"target{index}": (view, None) for index, view in enumerate(kernel.epilogue.targets)}
    given = (weights,) if case.scaled else (weights, bias)
    constants = {"weights": kernel.pack(*given, unit, tile)}
    if kernel.epilogue.has_constants:
        padded, places = kernel.padded_channels(unit), kernel.places(unit)
        constants["constants"] = kernel.epilogue.pack(values, padded, places)

    results = run_kernel(kernel, cpu, maps, constants, tile)

    expected = ended(case, sums, scale, bias, factor, residual)
    if case.exact:
        np.testing.assert_array_equal(results[0], expected)
    else:
        assert_close(results[0], expected)
    for form, result in zip(TARGETS, results, strict=True):
        np.testing.assert_array_equal(result, written(form, results[0], norm))


def ended(
    case: Case,
    sums: Array,
    scale: Array,
    bias: Array,
    factor: Array | None,
    residual: Array | None,
) -> Array:
    """The result of an epilogue, every operation in float32."""
    each = (slice(None), None, None)
    result = sums.astype(F)
    if case.scaled:
        result = result * scale[each]
        result = result if factor is None else result * factor
    result = result + bias[each]
    if residual is not None and case.residual is not None:
        if case.residual != REAL:
            residual = (residual - case.residual.zero).astype(F) * F(RESIDUAL_STEP)
        result = result + residual
    return activated(case.activation, result)


CASES: Mapping[str, Case] = {
    "fp32": Case(Conv2dKernel, REAL, 32, (5, 13), (5, 6), activation="relu", residual=SIGNED),
    "fp32-strided": Case(Conv2dKernel, REAL, 32, (8, 33), (7, 6), stride=(2, 2), residual=REAL),
    "fp32-grouped": Case(
        Conv2dKernel, REAL, 32, (6, 32), (4, 5), groups=2, activation="hardswish"
    ),
    "depthwise": Case(DepthwiseKernel, REAL, 32, (13, 13), (5, 6), activation="relu6"),
    "depthwise-13x9": Case(
        *(DepthwiseKernel, REAL, 32, (13, 13), (5, 6), (13, 9)), stride=(1, 2), padding=(6, 4)
    ),
    "depthwise-5x5": Case(
        DepthwiseKernel, REAL, 32, (33, 33), (7, 6), (5, 5), (2, 2), (2, 2), residual=REAL
    ),
    "bwn": Case(SignConvKernel, REAL, 1, (7, 13), (5, 6), activation="relu", residual=REAL),
    "bwn-strided": Case(SignConvKernel, REAL, 1, (40, 33), (7, 6), (1, 1), (2, 2), (0, 0)),
    "w8a8": Case(
        IntegerConvKernel, UNSIGNED, 8, (5, 13), (5, 6), activation="relu", residual=SIGNED
    ),
    "w8a8-signed": Case(
        IntegerConvKernel, SIGNED, 8, (37, 33), (7, 6), (1, 1), (2, 2), (0, 0), residual=REAL
    ),
    "w8a8-grouped": Case(
        IntegerConvKernel,
        SIGNED,
        8,
        (10, 32),
        (5, 5),
        (5, 5),
        padding=(2, 2),
        groups=2,
        activation="hardswish",
    ),
    "w8a8-depthwise": Case(
        IntegerDepthwiseKernel, UNSIGNED, 8, (13, 13), (5, 6), activation="relu6", residual=NIBBLES
    ),
    "w8a8-depthwise-13x9": Case(
        *(IntegerDepthwiseKernel, SIGNED, 8, (13, 13), (5, 6), (13, 9)), padding=(6, 4)
    ),
    "w8a8-depthwise-5x5": Case(
        IntegerDepthwiseKernel, SIGNED, 8, (33, 33), (7, 6), (5, 5), (2, 2), (2, 2)
    ),
    "w4a8": Case(IntegerConvKernel, UNSIGNED, 4, (5, 13), (5, 6), activation="relu"),
    "w4a8-signed": Case(
        IntegerConvKernel, SIGNED, 4, (37, 33), (7, 6), stride=(2, 2), residual=REAL
    ),
    "w4a4": Case(IntegerConvKernel, SIGNED_NIBBLES, 4, (12, 17), (5, 6), activation="hardsigmoid"),
    "w2a2": Case(BitConvKernel, PAIRS, 2, (5, 13), (5, 6), activation="relu", residual=SIGNED),
    "w2a2-signed": Case(
        BitConvKernel, SIGNED_PAIRS, 2, (70, 33), (7, 6), stride=(2, 2), residual=REAL
    ),
    "w1a2": Case(
        BitConvKernel, PAIRS, 1, (37, 13), (5, 6), (1, 1), padding=(0, 0), activation="relu"
    ),
    "w1a2-grouped": Case(BitConvKernel, SIGNED_PAIRS, 1, (64, 32), (5, 4), groups=2),
    "xnor": Case(BitConvKernel, SIGNS, 1, (37, 13), (5, 6), residual=REAL),
    "xnor-strided": Case(
        BitConvKernel, SIGNS, 1, (128, 33), (7, 6), stride=(2, 2), activation="relu"
    ),
    "xnor_k": Case(
        BitConvKernel, SIGNS, 1, (64, 32), (5, 6), (5, 5), padding=(2, 2), groups=2, factor=True
    ),
    "xnor-1x1": Case(BitConvKernel, SIGNS, 1, (300, 40), (5, 6), (1, 1), padding=(0, 0)),
}
