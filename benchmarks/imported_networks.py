"""Imported networks compiled by us against ONNX Runtime on the file itself, one thread, in turns.

    python -m benchmarks.imported_networks --json docs/results/imported_networks.json
    python -m benchmarks.imported_networks squeezenet resnet50
    python -m benchmarks.imported_networks --file model.onnx
    python -m benchmarks.imported_networks --torch

The files are those that come inside the ``onnx`` package (opset 9, batch 1), with random weights
in place of their constants, or one that is given, or with ``--torch`` the networks of plain torch
that the tests import, small, for 3 x 32 x 32, as torch exports them. ONNX Runtime runs the file
as it is, every optimisation on; ours is the import, batch norms folded, compiled and tuned.
"difference" is how far both are apart, as a share of the largest output.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import onnx

from benchmarks.interleaved import interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.onnx.reading.agreement import check_agreement, file_values, run_as_written
from latency_models.onnx.reading.imported import read_model
from latency_models.onnx.reading.opened import opened
from latency_models.onnx.session import bound_call, open_session
from search_spaces.graphs.cost import network_cost
from tests.latency_models.parts.published_files import NETWORKS, published, with_random_weights
from tests.nas.parts.torch_networks import NETWORKS as IN_TORCH
from tests.nas.parts.torch_networks import traced, trained_like

Row = dict[str, object]


def measure(name: str, proto: onnx.ModelProto, cpu: Cpu, timing: Mapping[str, Any]) -> Row:
    """Times one file."""
    start = perf_counter()
    imported = read_model(proto, None)
    import_s = perf_counter() - start
    agreement = check_agreement(imported, run_as_written(imported.model))
    ours = compile_model(imported.model, cpu, tuned=True)
    graph = imported.model.graph
    x = np.random.default_rng(0).normal(size=(1, *graph.input_shape)).astype(np.float32)
    (expected,) = file_values(imported, x, [imported.output])
    found = ours.run(x).reshape(-1)
    error = float(np.abs(found - expected.reshape(-1)).max() / np.abs(expected).max())
    session = open_session(imported.proto.SerializeToString())
    calls = (ours.bound_call(x), bound_call(session, x))
    (ours_ms, theirs_ms), (spread, ort_spread) = interleaved_ms(calls, **timing)
    cost = network_cost(graph)
    return {
        "network": name,
        "params_m": cost.params / 1e6,
        "macs_m": cost.macs / 1e6,
        "ours_ms": ours_ms,
        "spread_ms": spread,
        "ort_ms": theirs_ms,
        "ort_spread_ms": ort_spread,
        "ours/ort": ours_ms / theirs_ms,
        "difference": error,
        "import_difference": agreement.difference,
        "import_s": import_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="network", help=", ".join(NETWORKS))
    parser.add_argument("--file", type=Path, action="append", default=[])
    parser.add_argument("--torch", action="store_true", help="the networks of plain torch")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--round-ms", type=float, default=20.0)
    parser.add_argument(
        "--cpu-time", action="store_true", help="do not count what other programs take"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu, rows = host_cpu(), []
    timing: dict[str, Any] = {"rounds": given.rounds, "round_ms": given.round_ms}
    timing["clock"] = thread_time if given.cpu_time else perf_counter
    named = given.file or given.torch
    names = given.networks or ([] if named else list(NETWORKS))
    files = {name: with_random_weights(published(name)) for name in names}
    if given.torch:
        shape = (3, 32, 32)
        files |= {name: traced(trained_like(make), shape) for name, make in IN_TORCH.items()}
    files |= {path.stem: opened(path) for path in given.file}
    for name, proto in files.items():
        rows.append(measure(name, proto, cpu, timing))
        print({key: rows[-1][key] for key in ("network", "ours_ms", "ort_ms")}, flush=True)
    print_table("imported networks, float32, one thread", rows)
    faster = Counter(float(str(row["ours/ort"])) <= 1 for row in rows)
    clock = "cpu" if given.cpu_time else "wall"
    about = {
        "cpu": cpu.mcpu,
        "clock": clock,
        "faster than ONNX Runtime": f"{faster[True]} of {len(rows)}",
    }
    write_json(given.json, rows, about)


if __name__ == "__main__":
    main()
