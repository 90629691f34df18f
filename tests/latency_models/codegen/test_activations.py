"""Activations as vector code: the same steps on every lane, whatever the number, and no calls."""

import re

import numpy as np
import pytest

from latency_models.devices.cpu import Cpu
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.plain import PointwiseKernel
from latency_models.kernels.view import View
from search_spaces.graphs.activations import ACTIVATIONS, LEAKS, Activation
from tests.latency_models.kernels.assembly import assembly
from tests.latency_models.kernels.kernel_runs import run_kernel
from tests.latency_models.parts.processors import CPUS, REAL_CPUS

F = np.float32
NEW: tuple[Activation, ...] = ("sigmoid", "silu", "gelu", "gelu_tanh", *LEAKS)
SHAPE = (21, 40, 40)  # channels of no whole number of vectors
ARM = Cpu("cortex-a72", "aarch64-linux-gnu")


def any_numbers() -> np.ndarray:
    """Numbers of every size, infinities and what is no number among them."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, SHAPE, np.uint32)
    ordinary = np.random.default_rng(1).normal(0, 6, SHAPE).astype(F)
    numbers = np.where(bits % 3 == 0, ordinary, bits.view(F))
    numbers[:, 0, 0], numbers[:, 0, 1], numbers[:, 0, 2] = np.inf, -np.inf, np.nan
    return numbers


@pytest.mark.parametrize("cpu", REAL_CPUS, ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", NEW)
def test_a_kernel_takes_the_same_steps_for_any_number(name: Activation, cpu: Cpu) -> None:
    view, x = View(*SHAPE), any_numbers()
    kernel = PointwiseKernel((view,), Epilogue((view,), name))

    (y,) = run_kernel(kernel, cpu, {"source0": (view, x), "target0": (view, None)})

    with np.errstate(invalid="ignore"):
        wanted = ACTIVATIONS[name].compute(x)
    np.testing.assert_array_equal(y, wanted)
    assert np.isnan(y).any()
    assert np.isinf(y).any() != (name == "sigmoid")


@pytest.mark.parametrize("cpu", [*CPUS, ARM], ids=lambda cpu: cpu.mcpu)
@pytest.mark.parametrize("name", NEW)
def test_every_step_is_one_of_whole_vectors(name: Activation, cpu: Cpu) -> None:
    view = View(64, 6, 6)

    code = assembly(PointwiseKernel((view,), Epilogue((view,), name)), cpu)

    assert not re.search(r"\s(call|jmp|bl?)\w*\s+\S*(exp|erf|tanh|round|fmin|fmax|div)", code)
    divisions = re.findall(r"v?div[ps]s\s|fdiv\s.*", code)
    assert all("ps" in each or ".4s" in each for each in divisions)
    assert bool(divisions) == (name not in LEAKS)
