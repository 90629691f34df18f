"""Published networks compiled by us against ONNX Runtime, float32, one thread, in turns.

    python -m benchmarks.networks --json docs/results/networks.json

Batch 1, weights random, batch norm folded for both; every optimisation of ONNX Runtime is on.
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.interleaved import interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.compiled import compile_model
from latency_models.kernels.cpu import Cpu, host_cpu
from latency_models.onnx_model import onnx_model
from latency_models.onnx_runtime import bound_call, open_session, run_session
from search_spaces.cost import count_macs
from search_spaces.model import random_model
from search_spaces.networks import NETWORKS

DEFAULT = ("mobilenet_v2", "shufflenet_v2", "ghostnet", "squeezenet_1_1")


def measure(
    name: str, resolution: int, cpu: Cpu, rounds: int, round_ms: float
) -> dict[str, object]:
    rng = np.random.default_rng(0)
    model = random_model(NETWORKS[name](resolution=resolution), rng)
    x = rng.normal(size=(1, *model.graph.input_shape)).astype(np.float32)
    start = perf_counter()
    counted = compile_model(model, cpu)
    compile_s = perf_counter() - start
    tuned = compile_model(model, cpu, tuned=True)
    session = open_session(onnx_model(model).SerializeToString())
    reference = run_session(session, x)
    error = float(np.abs(tuned.run(x) - reference[0]).max() / max(1, np.abs(reference).max()))
    calls = (tuned.bound_call(x), counted.bound_call(x), bound_call(session, x))
    (ours, untuned, theirs), (spread, _, ort_spread) = interleaved_ms(
        calls, rounds=rounds, round_ms=round_ms
    )
    return {
        "network": name,
        "macs_m": count_macs(model.graph) / 1e6,
        "ours_ms": ours,
        "spread_ms": spread,
        "untuned_ms": untuned,
        "ort_ms": theirs,
        "ort_spread_ms": ort_spread,
        "ours/ort": ours / theirs,
        "untuned/ort": untuned / theirs,
        "compile_s": compile_s,
        "difference": error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=DEFAULT, metavar="network")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--round-ms", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu = host_cpu()
    rows = [
        measure(name, given.resolution, cpu, given.rounds, given.round_ms)
        for name in given.networks
    ]
    title = f"networks at {given.resolution}x{given.resolution}, float32, one thread"
    print_table(title, rows)
    worst = max(float(str(row["ours/ort"])) for row in rows)
    write_json(given.json, rows, {"cpu": cpu.mcpu, "worst ours/ort": worst})


if __name__ == "__main__":
    main()
