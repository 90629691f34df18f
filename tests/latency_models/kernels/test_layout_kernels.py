"""Changes of layout: no number is lost or changed, and borders hold what they should."""

import platform

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_models.compiler.memory import Address
from latency_models.devices.cpu import Cpu
from latency_models.kernels.layout import (
    BorderKernel,
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.operators import Shape
from tests.latency_models.kernels.kernel_runs import (
    GUARD,
    element_type,
    memory_with,
    run_kernel,
    run_memory,
    write,
)
from tests.latency_models.kernels.kernel_targets import SIGNED, SIGNED_PAIRS, UNSIGNED, values_of
from tests.latency_models.parts import oracle
from tests.latency_models.parts.processors import REAL_CPUS, UNITS

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86 code"),
    pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu),
]


def ids(view: View) -> str:
    return f"{'x'.join(map(str, view.shape))}-{view.form.kind}{view.form.bits}"


@pytest.mark.parametrize("form", [REAL, SIGNED], ids=lambda form: form.kind)
@pytest.mark.parametrize(("channels", "groups"), [(116, 2), (30, 3)])
def test_a_shuffle_transposes_groups(channels: int, groups: int, form: Form, cpu: Cpu) -> None:
    source = View(channels, 3, 5, 1, channels + 3, form=form)
    target = View(channels, 3, 5, 2, channels + 1, form=form)
    x = values_of(form, source.shape, np.random.default_rng(0))
    kernel = ShuffleKernel(source, target, groups)

    (result,) = run_kernel(kernel, cpu, {"source": (source, x), "target": (target, None)})

    np.testing.assert_array_equal(result, oracle.shuffle(x, groups))


@pytest.mark.parametrize("shape", [(3, 19, 21), (37, 4, 5), (16, 8, 16), (1, 3, 3)])
def test_a_change_of_layout_changes_no_number(shape: Shape, cpu: Cpu) -> None:
    x = values_of(REAL, shape, np.random.default_rng(0))
    planar, bordered = View(*shape, planar=True), View(*shape, 2, planar=True)
    adjacent = View(*shape, 1, shape[0] + 3)

    for source, target in ((planar, adjacent), (adjacent, planar), (planar, bordered)):
        maps = {"source": (source, x), "target": (target, None)}
        (result,) = run_kernel(LayoutKernel(source, target), cpu, maps)
        np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize("form", [SIGNED, UNSIGNED, Form("codes", 4, 8)], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 37), (1, 4, 16), (4, 2, 3)])
def test_an_input_becomes_codes_of_four_bytes_a_pixel(shape: Shape, form: Form, cpu: Cpu) -> None:
    source = View(*shape, planar=True)
    target = View(*shape, 1, 4, form=form)
    x = values_of(REAL, shape, np.random.default_rng(0))
    inverse = np.full(1, 200, np.float32)
    # What follows the channels in a pixel's four bytes may be anything.
    maps = {"source": (source, x), "target": (View(4, *shape[1:], 1, form=form), None)}

    (result,) = run_kernel(PlanarCodesKernel(source, target), cpu, maps, {"steps": inverse})

    codes = np.clip(np.rint(x * inverse) + form.zero, 0, form.highest)
    np.testing.assert_array_equal(result[: shape[0]], codes)
    assert codes.min() == 0
    assert codes.max() == form.highest


@pytest.mark.parametrize(
    "view",
    [
        View(5, 4, 3, 2),
        View(3, 6, 5, 1, planar=True),
        View(16, 2, 9, 3),
        View(33, 4, 3, 1, form=SIGNED),
        View(5, 1, 2, 3, form=UNSIGNED),
        View(70, 3, 2, 2, form=Form("planes", 1)),
    ],
    ids=ids,
)
def test_a_border_is_filled_and_its_map_left_alone(view: View, cpu: Cpu) -> None:
    kernel = BorderKernel()

    after = filled(kernel.function(UNITS[cpu]), view, cpu, kernel.numbers(view))

    np.testing.assert_array_equal(after, memory_with(view, ones(view)))


@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("channels", [5, 64])
def test_the_border_of_a_packed_map_holds_the_code_of_zero(
    channels: int, zero: int, cpu: Cpu
) -> None:
    view = View(channels, 3, 4, 2, form=Form("planes", SIGNED_PAIRS.bits, zero))

    after = filled(PlaneBorderKernel(view).function(UNITS[cpu]), view, cpu)

    np.testing.assert_array_equal(after, memory_with(view, ones(view)))


def ones(view: View) -> NDArray[np.uint8]:
    return np.ones(view.shape, np.uint8)


def filled(
    function: object, view: View, cpu: Cpu, numbers: tuple[int, ...] = ()
) -> NDArray[np.uint8]:
    """The memory of a map of ones after its border was written."""
    memory = memory_with(view, None)
    write(view, memory[GUARD:].view(element_type(view))[view.origin :], ones(view))
    at = Address("workspace", GUARD + view.origin * view.form.element_bytes)
    return run_memory(function, cpu, [at], memory, numbers)
