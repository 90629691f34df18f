"""Published networks compiled by us against ONNX Runtime, one thread, in turns.

    python -m benchmarks.networks --json docs/results/networks.json
    python -m benchmarks.networks resnet18 --precision w8a8
    python -m benchmarks.networks --precision all  # the networks and precisions of interest

Batch 1, weights random, batch norm folded for both; every optimisation of ONNX Runtime is on.
At 8 bits ONNX Runtime runs the faster of two files: our own export, and its own post-training
quantization (``onnxruntime.quantization``, QDQ, per channel, u8 maps, s8 weights) of the real
network. Below 8 bits it has no kernels, so its float32 time is what we are compared to. The body
of a network is all layers but the first convolution and the classifier.
"""

import argparse
import logging
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.interleaved import interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session, run_session
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8, Precision, get_precision
from search_spaces.networks import NETWORKS
from search_spaces.quantization.reprecision import uniform

DEFAULT = ("mobilenet_v2", "shufflenet_v2", "ghostnet", "squeezenet_1_1")
PRECISE = {"mobilenet_v2": ("w8a8", "w4a8"), "resnet18": ("w8a8", "w4a8", "w2a2", "w1a2", "xnor")}


def measure(
    name: str, resolution: int, cpu: Cpu, rounds: int, round_ms: float
) -> dict[str, object]:
    """Times a float32 network."""
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


def measure_precision(
    name: str, precision: Precision, resolution: int, cpu: Cpu, rounds: int, round_ms: float
) -> dict[str, object]:
    """Times a network at a precision: ours, ONNX Runtime at float32 and, for 8 bits, at int8."""
    rng = np.random.default_rng(0)
    real = random_model(NETWORKS[name](resolution=resolution), rng)
    graph = uniform(real.graph, precision, W8A8 if precision.activation_bits == 8 else FP32)
    model = random_model(graph, rng)
    x = rng.normal(size=(1, *graph.input_shape)).astype(np.float32)
    ours = compile_model(model, cpu)
    sessions = {"fp32": open_session(onnx_model(real).SerializeToString())}
    if precision.activation_bits == 8:
        sessions["export"] = open_session(onnx_model(model).SerializeToString())
        sessions["own"] = open_session(quantized_by_ort(real.graph, x))
    assert np.isfinite(ours.run(x)).all()
    calls = [ours.bound_call(x), *(bound_call(session, x) for session in sessions.values())]
    (our_ms, *their_ms), (spread, *_) = interleaved_ms(calls, rounds=rounds, round_ms=round_ms)
    times = dict(zip(sessions, their_ms, strict=True))
    int8 = min((times[kind] for kind in ("export", "own") if kind in times), default=None)
    return {
        "network": name,
        "precision": precision.name,
        "ours_ms": our_ms,
        "spread_ms": spread,
        "ort_fp32_ms": times["fp32"],
        "ort_export_ms": times.get("export", float("nan")),
        "ort_own_int8_ms": times.get("own", float("nan")),
        "ours/ort_fp32": our_ms / times["fp32"],
        "ours/ort_int8": our_ms / int8 if int8 else float("nan"),
    }


def quantized_by_ort(graph: Graph, x: np.ndarray) -> bytes:
    """Returns the float32 network as ONNX Runtime's own tool quantizes it."""
    model = onnx_model(random_model(graph, np.random.default_rng(0)))
    logging.getLogger().setLevel(logging.ERROR)  # its advice is about accuracy
    with tempfile.TemporaryDirectory() as folder:
        source, ready, target = (Path(folder) / f"{n}.onnx" for n in ("fp32", "ready", "int8"))
        onnx.save(model, str(source))
        quant_pre_process(str(source), str(ready))
        quantize_static(
            str(ready),
            str(target),
            OneImage(x),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()


class OneImage(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """Calibration data of one image: only times are compared."""

    def __init__(self, x: np.ndarray) -> None:
        self.rows = iter([{"input": x}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rows, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=None, metavar="network")
    parser.add_argument("--precision", default="fp32", choices=[*PRECISIONS, "all"])
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--round-ms", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu = host_cpu()
    size = f"{given.resolution}x{given.resolution}"
    settings = (given.resolution, cpu, given.rounds, given.round_ms)
    if given.precision == "fp32":
        rows = [measure(name, *settings) for name in given.networks or DEFAULT]
        print_table(f"networks at {size}, float32, one thread", rows)
        worst = max(float(str(row["ours/ort"])) for row in rows)
        write_json(given.json, rows, {"cpu": cpu.mcpu, "worst ours/ort": worst})
        return
    rows = [
        measure_precision(name, get_precision(precision), *settings)
        for name in given.networks or PRECISE
        for precision in (
            PRECISE.get(name, ("w8a8",)) if given.precision == "all" else (given.precision,)
        )
    ]
    print_table(f"networks at {size} by precision, one thread", rows)
    write_json(given.json, rows, {"cpu": cpu.mcpu, "onnxruntime": ort.__version__})


if __name__ == "__main__":
    main()
