"""Activations and norms over channels: our networks of a few layers against ONNX Runtime's.

One thread each, in turns, in the thread's own time; what a layer adds is the difference to the
row without it.

    python -m benchmarks.smooth_kernels
"""

import argparse
from time import thread_time

import numpy as np

from benchmarks.interleaved import interleaved_ms
from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.activations import ACTIVATIONS
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import (
    Activate,
    Conv2d,
    LayerNorm,
    LocalResponseNorm,
    MaxPool,
    Operator,
    Shape,
)

PATCHES = Conv2d(96, (4, 4), (4, 4), (0, 0), norm="none", activation="none")
POOL = MaxPool((3, 3), (1, 1), (1, 1))


def chain(shape: Shape, *operators: Operator) -> Graph:
    net = GraphBuilder(shape)
    x = net.input
    for index, operator in enumerate(operators):
        x = net.add(f"layer{index}", operator, x)
    return net.graph()


def networks() -> dict[str, Graph]:
    found = {}
    for name in ACTIVATIONS:
        found[f"conv 1x1, {name}"] = chain((64, 28, 28), Conv2d(64, activation=name))
        bare = Conv2d(32, activation="none")
        found[f"conv 1x1, max pool, {name}"] = chain((16, 56, 56), bare, POOL, Activate(name))
    found["patches of 4x4"] = chain((3, 56, 56), PATCHES)
    found["patches, layer norm"] = chain((3, 56, 56), PATCHES, LayerNorm())
    found["patches, response norm of 5"] = chain((3, 56, 56), PATCHES, LocalResponseNorm(5))
    return found


def timed(graph: Graph, rounds: int, round_ms: float) -> tuple[float, float]:
    """Returns the median milliseconds of ours and of ONNX Runtime."""
    model = random_model(graph, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=graph.input_shape).astype(np.float32)
    session = open_session(onnx_model(model, batch=1).SerializeToString())
    calls = (compile_model(model, host_cpu()).bound_call(x), bound_call(session, x[None]))
    (ours, theirs), _ = interleaved_ms(calls, rounds=rounds, round_ms=round_ms, clock=thread_time)
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--round-ms", type=float, default=10.0)
    given = parser.parse_args()
    print("| network | ours ms | ONNX Runtime ms | times as fast |\n|---|---|---|---|")
    for name, graph in networks().items():
        ours, theirs = timed(graph, given.rounds, given.round_ms)
        print(f"| {name} | {ours:.4f} | {theirs:.4f} | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
