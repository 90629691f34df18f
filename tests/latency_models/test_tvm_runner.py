"""Code that is plainer than the device's CPU is found out; a file has no times per kernel."""

import platform
from pathlib import Path

import numpy as np
import pytest

from latency_models.compiled import compile_model
from latency_models.device_check import small_network
from latency_models.kernels.cpu import Cpu, host_cpu
from latency_models.runner import random_input
from latency_models.tvm_runner import TvmBackend, TvmRunner
from search_spaces.errors import UserError
from search_spaces.model import random_model

MODEL = random_model(small_network(), np.random.default_rng(0))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 registers")
def test_code_narrower_than_the_cpu_is_refused() -> None:
    plain = compile_model(MODEL, Cpu("x86-64-v2"))

    TvmRunner(plain, TvmBackend(Cpu("x86-64-v2"), tuned=False), MODEL).check_code()
    runner = TvmRunner(plain, TvmBackend(Cpu("x86-64-v3"), tuned=False), MODEL)
    with pytest.raises(UserError, match=r"'x86-64-v3' does not use its avx2 registers"):
        runner.check_code()


def test_a_file_runs_but_has_no_times_per_kernel(tmp_path: Path) -> None:
    backend = TvmBackend(host_cpu(), tuned=False)
    backend.compile(MODEL).save(tmp_path / "network.so")
    runner = backend.load(tmp_path / "network.so")
    x = random_input(MODEL.graph.input_shape)

    assert runner.run(x).shape == (1, 10)
    with pytest.raises(UserError, match="no times per kernel"):
        runner.kernels_ms(x)
