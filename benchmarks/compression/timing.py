"""Compressed networks in turns: our untuned kernels and ONNX Runtime, one thread, batch 1.

Times are of the thread's processor time: what other programs take of the core is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import thread_time

import numpy as np

from benchmarks.interleaved import interleaved_ms
from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session
from search_spaces.graphs.model import Model, fold_batch_norm

ROUNDS, ROUND_MS = 25, 20.0


@dataclass(frozen=True, slots=True)
class Times:
    """Median milliseconds of one network.

    Attributes:
        spread: Interquartile range of ours.
    """

    ours: float
    ort: float
    spread: float


def timed(models: Sequence[Model]) -> list[Times]:
    """Returns what each network takes; all run in turns."""
    calls = []
    for model in map(fold_batch_norm, models):
        shape = (1, *model.graph.input_shape)
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        calls.append(compile_model(model, host_cpu()).bound_call(x))
        calls.append(bound_call(open_session(onnx_model(model).SerializeToString()), x))
    ms, spreads = interleaved_ms(calls, rounds=ROUNDS, round_ms=ROUND_MS, clock=thread_time)
    return [Times(*each) for each in zip(ms[::2], ms[1::2], spreads[::2], strict=True)]
