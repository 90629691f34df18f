"""Code that is plainer than the device's CPU is found out; files run; kernels are timed alone."""

import platform
from pathlib import Path

import numpy as np
import pytest

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.measurement.backends import random_input
from latency_models.measurement.device_check import small_network
from latency_models.measurement.tvm_backend import TvmBackend, TvmRunner
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model

MODEL = random_model(small_network(), np.random.default_rng(0))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 registers")
def test_code_narrower_than_the_cpu_is_refused() -> None:
    plain = compile_model(MODEL, Cpu("x86-64-v2"))

    TvmRunner(plain, TvmBackend(Cpu("x86-64-v2"), tuned=False)).check_code()
    runner = TvmRunner(plain, TvmBackend(Cpu("x86-64-v3"), tuned=False))
    with pytest.raises(UserError, match=r"'x86-64-v3' does not use its avx2 registers"):
        runner.check_code()


def test_a_file_runs(tmp_path: Path) -> None:
    backend = TvmBackend(host_cpu(), tuned=False)
    backend.compile(MODEL).save(tmp_path / "network.so")

    runner = backend.load(tmp_path / "network.so")

    assert runner.run(random_input(MODEL.graph.input_shape)).shape == (1, 10)


def test_only_the_kernels_that_are_asked_for_are_timed() -> None:
    backend = TvmBackend(host_cpu(), tuned=False)
    every = [name for name, _, _ in backend.kernels_ms(MODEL, None)]

    some = backend.kernels_ms(MODEL, {"expand", "classifier"})

    assert [name for name, _, _ in some] == [n for n in every if n in ("expand", "classifier")]
    assert all(ms > 0 for _, ms, _ in some)
    assert backend.kernels_ms(MODEL, ()) == []
