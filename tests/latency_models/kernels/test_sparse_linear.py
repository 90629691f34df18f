"""Sparse linear layers: the sums of the weights that are kept, in the order that is stated."""

import platform
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latency_models.devices.cpu import Cpu
from latency_models.kernels.epilogue import Epilogue, EpilogueValues
from latency_models.kernels.sparse.linear import SparseLinearKernel
from latency_models.kernels.sparse.packing import GROUP, HEAD, PANEL, TABLE
from latency_models.kernels.view import REAL, View
from tests.integer_oracle import activated
from tests.latency_models.compiler import aarch64_machine
from tests.latency_models.kernels.assembly import assembly
from tests.latency_models.kernels.kernel_runs import assert_close, run_kernel
from tests.latency_models.kernels.kernel_strategies import (
    activations,
    cpus,
    examples,
    seeds,
    views,
)
from tests.latency_models.kernels.kernel_targets import (
    SIGNED,
    TARGETS,
    sign_norm,
    target_values,
    values_of,
    written,
)
from tests.latency_models.parts.processors import REAL_CPUS

Array = NDArray[np.float32]
F = np.float32
RESIDUAL_STEP = 0.07
ARM = Cpu("cortex-a53", "aarch64-linux-gnu")
runs_here = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code")


def layer(inputs: int, outputs: int, bits: int) -> SparseLinearKernel:
    return SparseLinearKernel(View(inputs, 1, 1), Epilogue((View(outputs, 1, 1),)), 0.1, bits)


def sparse_weights(
    shape: tuple[int, ...], density: float, bits: int, rng: np.random.Generator
) -> Array:
    """Weights of which about a share is kept, of at most ``2 ** bits`` values."""
    book = rng.normal(size=1 << min(bits, 16)).astype(F)
    return np.where(rng.random(shape) < density, rng.choice(book, shape), F(0))


def run_layer(
    kernel: SparseLinearKernel, cpu: Cpu, weights: Array, bias: Array, x: Array
) -> list[Array]:
    """The targets for weights (O, C, H, W), the residual aside."""
    maps: dict[str, Any] = {"source": (kernel.source, x)}
    maps |= {f"target{i}": (view, None) for i, view in enumerate(kernel.epilogue.targets)}
    return run_kernel(kernel, cpu, maps, kernel.pack(weights, bias))


def summed(kernel: SparseLinearKernel, weights: Array, bias: Array, x: Array) -> Array:
    """What a layer of shared weights gives, every operation in float32 as it is stated."""
    flat, numbers = weights.reshape(len(weights), -1), x.ravel()
    total = bias.copy()
    columns = kernel.layout.columns
    for left in range(0, flat.shape[1], columns):
        for row in range(len(flat)):
            part = F(0)
            for column in range(left, min(left + columns, flat.shape[1])):
                if flat[row, column]:
                    part = part + numbers[column] * flat[row, column]
            total[row] = total[row] + part
    return total


@st.composite
def layers(draw: st.DrawFn) -> SparseLinearKernel:
    source = View(draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    source = draw(views(source.shape) | st.just(source))
    if draw(st.integers(0, 3)) == 0:
        source = View(*source.shape, halo=draw(st.integers(0, 1)), planar=True)
    shape = (draw(st.integers(1, 70)), 1, 1)
    residual = draw(st.none() | views(shape))
    end = Epilogue((draw(views(shape)),), draw(activations), residual)
    bits = draw(st.sampled_from((*range(1, 9), 32)))
    return SparseLinearKernel(source, end, 0.5, bits)


@runs_here
@given(layers(), cpus, st.sampled_from((0.0, 0.01, 0.1, 0.5, 1.0)), seeds)
@examples(40)
def test_a_sparse_layer_is_the_product_with_its_dense_weights(
    kernel: SparseLinearKernel, cpu: Cpu, density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape, end = kernel.target.shape, kernel.epilogue
    weights = sparse_weights((shape[0], *kernel.source.shape), density, kernel.bits, rng)
    bias = rng.normal(size=shape[0]).astype(F)
    x = rng.normal(size=kernel.source.shape).astype(F)
    maps: dict[str, Any] = {"source": (kernel.source, x), "target0": (kernel.target, None)}
    sums = np.einsum("ochw,chw->o", weights.astype(float), x.astype(float)) + bias
    expected = sums.astype(F)[:, None, None]
    if end.residual is not None:
        maps["residual"] = end.residual, rng.normal(size=shape).astype(F)
        expected = expected + maps["residual"][1]

    (result,) = run_kernel(kernel, cpu, maps, kernel.pack(weights, bias))

    assert_close(result, activated(end.activation, expected))


@runs_here
@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("bits", [2, 5, 6])
def test_shared_weights_are_summed_in_the_stated_order(bits: int, cpu: Cpu) -> None:
    """Bit for bit on every unit: there is no product to join with a sum."""
    rng = np.random.default_rng(bits)
    kernel = layer(inputs=300, outputs=19, bits=bits)
    weights = sparse_weights((19, 300, 1, 1), 0.3, bits, rng)
    bias, x = rng.normal(size=19).astype(F), rng.normal(size=(300, 1, 1)).astype(F)

    (result,) = run_layer(kernel, cpu, weights, bias, x)

    np.testing.assert_array_equal(result[:, 0, 0], summed(kernel, weights, bias, x))


@runs_here
@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("bits", [4, 8, 32])
def test_a_layer_fills_all_its_targets(bits: int, cpu: Cpu) -> None:
    fill_targets(bits, cpu)


@aarch64_machine.needs_emulator
@pytest.mark.parametrize("bits", [5, 8, 32])
def test_on_64_bit_arm_a_layer_fills_all_its_targets(bits: int) -> None:
    fill_targets(bits, ARM)


def fill_targets(bits: int, cpu: Cpu) -> None:
    rng = np.random.default_rng(bits)
    targets = tuple(
        View(37, 1, 1, index % 2, 0 if form.kind == "planes" else 41, form=form)
        for index, form in enumerate(TARGETS)
    )
    residual = View(37, 1, 1, 1, form=SIGNED)
    kernel = SparseLinearKernel(View(6, 3, 5, 1), Epilogue(targets, "relu", residual), 0.3, bits)
    weights = sparse_weights((37, 6, 3, 5), 0.3, bits, rng)
    bias = rng.normal(size=37).astype(F)
    x = values_of(REAL, kernel.source.shape, rng)
    added = values_of(SIGNED, (37, 1, 1), rng)
    norm = sign_norm(37, rng)
    values = EpilogueValues(target_values(TARGETS, norm), residual_step=RESIDUAL_STEP)
    unit = cpu.vector_unit
    constants = kernel.pack(weights, bias) | {
        "constants": kernel.epilogue.pack(
            values, kernel.padded_channels(unit), kernel.places(unit)
        )
    }
    maps: dict[str, Any] = {"source": (kernel.source, x), "residual": (residual, added)}
    maps |= {f"target{index}": (view, None) for index, view in enumerate(targets)}

    results = run_kernel(kernel, cpu, maps, constants)

    sums = np.einsum("ochw,chw->o", weights.astype(float), x.astype(float)) + bias
    expected = sums.astype(F)[:, None, None]
    expected = expected + (added - SIGNED.zero).astype(F) * F(RESIDUAL_STEP)
    assert_close(results[0], activated("relu", expected))
    for form, result in zip(TARGETS, results, strict=True):
        np.testing.assert_array_equal(result, written(form, results[0], norm))


@runs_here
@pytest.mark.parametrize(
    ("inputs", "outputs", "bits"),
    [(300, PANEL + 5, 5), (2 * TABLE + 3, 20, 32), (300, 2 * PANEL, 8)],
)
def test_large_layers_are_cut_into_panels_and_blocks(inputs: int, outputs: int, bits: int) -> None:
    """Of whole numbers, whose sums are exact in any order."""
    rng = np.random.default_rng(0)
    kernel = layer(inputs, outputs, bits)
    weights = np.where(
        rng.random((outputs, inputs)) < 0.05, rng.integers(-16, 16, (outputs, inputs)), 0
    ).astype(F)
    bias = rng.integers(-9, 9, outputs).astype(F)
    x = rng.integers(-99, 99, (inputs, 1, 1)).astype(F)

    (result,) = run_layer(kernel, REAL_CPUS[0], weights[:, :, None, None], bias, x)

    np.testing.assert_array_equal(result[:, 0, 0], weights @ x.ravel() + bias)


@runs_here
@pytest.mark.parametrize("bits", [1, 5, 8, 32])
def test_rows_and_columns_may_be_empty_or_full(bits: int) -> None:
    rng = np.random.default_rng(0)
    weights = np.zeros((21, 140, 1, 1), F)
    weights[3], weights[20], weights[:, 139] = 0.5, -2, 0.5
    weights[0] = 0
    bias, x = np.arange(21, dtype=F), rng.integers(-9, 9, (140, 1, 1)).astype(F)

    (result,) = run_layer(layer(140, 21, bits), REAL_CPUS[0], weights, bias, x)

    np.testing.assert_array_equal(result[:, 0, 0], weights[:, :, 0, 0] @ x.ravel() + bias)
    assert result[0, 0, 0] == 0


@pytest.mark.parametrize(("bits", "each"), [(5, 2), (8, 3), (32, 6)])
def test_a_kept_weight_takes_its_token_and_what_lies_beside(bits: int, each: int) -> None:
    """And a tenth more: heads of groups, and rows of a group that are shorter than its longest."""
    rng = np.random.default_rng(0)
    weights = sparse_weights((1024, 1024), 0.1, bits, rng)
    kept = np.count_nonzero(weights)

    packed = layer(1024, 1024, bits).pack(weights[:, :, None, None], np.zeros(1024, F))

    stored = sum(array.nbytes for name, array in packed.items() if name != "weights")
    least = each * kept
    most = 1.1 * least + 1024 / GROUP * (1024 * 32 / TABLE) * HEAD * 2
    assert least <= stored < most


MACHINES = [
    (Cpu("znver4"), r"addss"),
    (Cpu("x86-64-v3"), r"addss"),
    (Cpu("x86-64"), r"addss"),
    (ARM, r"fadd\s+s"),
]


@pytest.mark.parametrize(("cpu", "addition"), MACHINES, ids=str)
def test_a_weight_of_a_codebook_is_one_addition(cpu: Cpu, addition: str) -> None:
    code = assembly(layer(4096, 4096, 5), cpu)

    assert len(re.findall(addition, code)) >= GROUP
    assert "TVMBackendAllocWorkspace" not in code, "table and sums must not be on the heap"
