"""Code that is plainer than the device's CPU is found out."""

import platform

import numpy as np
import pytest

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import Cpu
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
