"""On 64-bit ARM, kernels and whole networks give the numbers of the oracles; run in an emulator.

Two processors: one that multiplies bytes four at a time (sdot), and the plainest.
"""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import calls, functions, shapes, tile_choice
from latency_models.compiler.lower import lower
from latency_models.devices.cpu import Cpu
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.convolution import ConvTile
from latency_models.kernels.depthwise import DepthwiseTile
from latency_models.kernels.layout import (
    BorderKernel,
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.reductions import CodePoolKernel
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.model import Model
from tests.latency_models.compiler import aarch64_machine
from tests.latency_models.compiler.test_coded_networks import expected, mixed_model
from tests.latency_models.kernels.assembly import assembly
from tests.latency_models.kernels.kernel_cases import CASES, run_case
from tests.latency_models.kernels.kernel_runs import MARK, memory_with, run_kernel
from tests.latency_models.kernels.kernel_targets import NIBBLES, SIGNED, SIGNED_PAIRS, values_of
from tests.latency_models.kernels.plain_cases import PLAIN_CASES, run_plain_case
from tests.latency_models.kernels.test_layout_kernels import filled, ones
from tests.latency_models.parts import oracle

Array = NDArray[Any]
DOT, PLAIN = (Cpu(mcpu, "aarch64-linux-gnu") for mcpu in ("cortex-a76", "cortex-a53"))
UNIT = PLAIN.vector_unit
pytestmark = aarch64_machine.needs_emulator

# What multiplies bytes is not the same on both; the rest is tested once.
BYTES = (IntegerConvKernel, IntegerDepthwiseKernel)
KERNELS = [
    (name, cpu)
    for name, case in CASES.items()
    for cpu in ((DOT, PLAIN) if case.kind in BYTES else (PLAIN,))
]


@pytest.mark.sweep(4)
@pytest.mark.parametrize(("name", "cpu"), KERNELS, ids=lambda value: getattr(value, "mcpu", value))
def test_a_kernel_with_weights_fills_all_its_targets(name: str, cpu: Cpu) -> None:
    tiles = CASES[name].kernel().candidate_tiles(cpu.vector_unit, 8)

    run_case(CASES[name], cpu, min(tiles, key=results_of))  # compiled in half the time of others


def results_of(tile: ConvTile | DepthwiseTile) -> int:
    """Vectors of results that a tile keeps in registers."""
    return tile.rows * tile.columns * (tile.vectors if isinstance(tile, ConvTile) else 1)


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", PLAIN_CASES)
def test_a_kernel_without_weights_fills_all_its_targets(name: str) -> None:
    run_plain_case(PLAIN_CASES[name], DOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cpu"), [("residual", PLAIN), ("mobile", DOT)], ids=["residual", "mobile"]
)
def test_a_mixed_network_gives_the_numbers_of_the_oracle(name: str, cpu: Cpu) -> None:
    model, x = mixed_model(name)

    result = run_network(model, cpu, x)

    assert result.std() > 0
    np.testing.assert_array_equal(result, expected(model, x))


def run_network(model: Model, cpu: Cpu, x: Array) -> Array:
    """The output for ``x`` of a network whose workspace holds anything to begin with."""
    network = lower(model, cpu.vector_unit, tile_choice(cpu, tuned=False))
    kinds = shapes(network)
    module = kernel_module(functions(network, cpu), {aarch64_machine.ENTRY: calls(network)}, kinds)
    memories = (
        x[None],
        network.weights,
        np.full(kinds["workspace"], MARK, np.uint8),
        np.full(kinds["output"], np.nan, np.float32),
    )
    _, output = aarch64_machine.run(compile_kernels(module, cpu.target), cpu, memories)
    return output[0]


@pytest.mark.parametrize(
    ("name", "cpu", "instruction"),
    [
        ("fp32", PLAIN, r"fmla\s+v\d+\.4s"),
        ("w8a8", DOT, r"sdot\s+v\d+\.4s, v\d+\.16b"),
        ("w4a8", DOT, r"sdot\s+v\d+\.4s, v\d+\.16b"),
        ("w8a8", PLAIN, r"smlal2?\s+v\d+\.4s"),
        ("w2a2", DOT, r"cnt\s+v\d+\.16b"),
        ("w1a2", PLAIN, r"cnt\s+v\d+\.16b"),
        ("xnor", PLAIN, r"cnt\s+v\d+\.16b"),
    ],
    ids=lambda value: getattr(value, "mcpu", value),
)
def test_kernels_use_the_instructions_for_it(name: str, cpu: Cpu, instruction: str) -> None:
    code = assembly(CASES[name].kernel(), cpu)

    assert re.search(instruction, code)
    called = set(re.findall(r"\sbl\s+(\w+)", code))
    assert not [name for name in called if not name.startswith(("kernel", "__tvm_", "TVMFFI"))]


# Changes of layout


@pytest.mark.parametrize("shape", [(3, 9, 10), (13, 4, 5), (16, 8, 4)])
def test_a_change_of_layout_changes_no_number(shape: tuple[int, int, int]) -> None:
    x = values_of(REAL, shape, np.random.default_rng(0))
    planar, bordered = View(*shape, planar=True), View(*shape, 2, planar=True)
    adjacent = View(*shape, 1, shape[0] + 3)

    for source, target in ((planar, adjacent), (adjacent, planar), (planar, bordered)):
        (result,) = moved(LayoutKernel(source, target), source, target, x)
        np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize("form", [REAL, NIBBLES], ids=str)
def test_a_shuffle_transposes_groups(form: Form) -> None:
    view = View(15, 3, 4, 1, form=form)
    x = values_of(form, view.shape, np.random.default_rng(0))

    (result,) = moved(ShuffleKernel(view, view, 3), view, view, x)

    np.testing.assert_array_equal(result, oracle.shuffle(x, 3))


def test_codes_are_pooled_as_they_are() -> None:
    source = View(37, 7, 6, 1, form=SIGNED)
    x = values_of(SIGNED, source.shape, np.random.default_rng(0))
    wanted = oracle.pool("max", x, (3, 3), (2, 2), (1, 1))
    target = View(37, 4, 3, form=SIGNED)

    (result,) = moved(CodePoolKernel(source, target, (3, 3), (2, 2), (1, 1)), source, target, x)

    np.testing.assert_array_equal(result, wanted)


def test_an_input_becomes_codes_of_four_bytes_a_pixel() -> None:
    source, target = View(3, 5, 6, planar=True), View(3, 5, 6, 1, 4, form=SIGNED)
    x = values_of(REAL, source.shape, np.random.default_rng(0))
    inverse = np.array([20], np.float32)
    maps = {"source": (source, x), "target": (View(4, 5, 6, 1, form=SIGNED), None)}

    (result,) = run_kernel(PlanarCodesKernel(source, target), PLAIN, maps, {"steps": inverse})

    np.testing.assert_array_equal(result[:3], np.clip(np.rint(x * inverse), -128, 127) + 128)


@pytest.mark.parametrize("view", [View(5, 4, 3, 2), View(33, 2, 3, 1, form=SIGNED)], ids=str)
def test_a_border_is_filled_and_its_map_left_alone(view: View) -> None:
    kernel = BorderKernel()

    after = filled(kernel.function(UNIT), view, PLAIN, kernel.numbers(view))

    np.testing.assert_array_equal(after, memory_with(view, ones(view)))


def test_the_border_of_a_packed_map_holds_the_code_of_zero() -> None:
    view = View(70, 3, 4, 2, form=SIGNED_PAIRS)

    after = filled(PlaneBorderKernel(view).function(UNIT), view, PLAIN)

    np.testing.assert_array_equal(after, memory_with(view, ones(view)))


def moved(kernel: Any, source: View, target: View, x: Array) -> list[Array]:  # noqa: ANN401
    return run_kernel(kernel, PLAIN, {"source": (source, x), "target": (target, None)})
