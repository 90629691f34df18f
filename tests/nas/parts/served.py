"""A service in a process of its own, with predictors that need no profile.

Run as ``python -m tests.nas.parts.served SECONDS LIMITS``: it serves until it is told to stop. A
network that reads ``SLOW`` channels takes so many seconds, one of ``UNKNOWN`` channels is not
profiled.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from latency_models.devices.latency import Interval, Latency, NotProfiledError
from latency_models.prediction.predictor import Explanation, KernelPrediction, Predictor
from latency_models.transfer.predictions import check_profiled
from nas.serving.limits import Limits
from nas.serving.server import serve
from nas.serving.service import make_app
from nas.serving.sockets import TOKEN, open_socket, read_token, url_of
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Linear
from tests.waiting import PATIENCE_S

SLOW = 7
UNKNOWN = 11


class FixedModels:
    """Predictors that are given."""

    def __init__(self, models: Mapping[str, Predictor]) -> None:
        self._models = dict(models)

    def names(self) -> tuple[str, ...]:
        return tuple(self._models)

    def get(self, device: str) -> Predictor:
        check_profiled(device, self.names())
        return self._models[device]


class ByMacs:
    """A predictor that needs no measuring: a microsecond for each thousand MACs."""

    def __init__(self, factor: float = 1.0, slow_s: float = 0.0) -> None:
        self.factor, self.slow_s = factor, slow_s

    @property
    def about(self) -> Mapping[str, Any]:
        return {"runtime": "none", "factor": self.factor}

    def latency(self, graph: Graph, *, extrapolate: bool = False) -> Latency:
        if graph.input_shape[0] == SLOW:
            end = monotonic() + self.slow_s
            while monotonic() < end:  # in Python, as predictions are
                sleep(0.001)
        if graph.input_shape[0] == UNKNOWN and not extrapolate:
            raise NotProfiledError(f"no kernel reads {UNKNOWN} channels; profile one")
        ms = self.factor * network_cost(graph).macs / 1e6
        interval = Interval(0.9 * ms, 1.1 * ms)
        return Latency(ms, 0.1 * ms, "predicted", interval=interval, model="macs")

    def latencies(
        self, graphs: Sequence[Graph], *, extrapolate: bool = False
    ) -> tuple[Latency, ...]:
        return tuple(self.latency(graph, extrapolate=extrapolate) for graph in graphs)

    def explain(self, graph: Graph, *, extrapolate: bool = False) -> Explanation:
        latency = self.latency(graph, extrapolate=extrapolate)
        ms = latency.median_ms
        node = next((n for n in graph.nodes if isinstance(n.operator, Linear)), graph.nodes[0])
        kernel = KernelPrediction(node.name, "all", ms, 0.9 * ms, 1.1 * ms, "lookup", 1.0)
        return Explanation(replace(latency), (kernel,), 0.0)

    def refitted(self, measured: Sequence[tuple[Graph, Latency]]) -> "ByMacs":
        return self


@contextmanager
def served(
    token: str | None = None, slow_s: float = 0.0, **limits: float
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Starts a service in a process; gives its address and the process, and stops it."""
    environment = {key: value for key, value in os.environ.items() if key != TOKEN}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.nas.parts.served", str(slow_s), json.dumps(limits)],
        env=environment | ({TOKEN: token} if token else {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()  # type: ignore[union-attr]


def main() -> None:
    models = FixedModels({"one": ByMacs(slow_s=float(sys.argv[1])), "two": ByMacs(2.0)})
    limits = Limits(**json.loads(sys.argv[2]))
    token = read_token(None, None)
    listening = open_socket("127.0.0.1", 0, token is not None)
    app = make_app(models, token, limits)
    serve(app, listening, limits, lambda: print(url_of(listening), flush=True))


if __name__ == "__main__":
    main()
