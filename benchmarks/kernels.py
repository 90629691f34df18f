"""Our convolutions at every precision against ONNX Runtime's, one thread, in turns.

    python -m benchmarks.kernels --precision all --json docs/results/kernels.json

Each row is one convolution with bias. ONNX Runtime gets plain NCHW with every optimisation on and
converts inside; at 8 bits its integer convolution is timed as well, as QDQ files have it (NCHW,
between two transpositions) and alone (NHWC). Ours is timed

* as the kernel alone, between maps that lie as they do inside a network of that precision;
* below 8 bits, packed: from a real map, which is turned into codes first, to a real map;
* as a network of its own, its input and output turned from and to NCHW, which is what a file with
  that one layer would cost.

The share of the peak is of what this machine's best instruction for such numbers can do, measured
in the same rounds (``benchmarks.peaks``); bits are multiplied once for each pair of bits.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np

from benchmarks.int8_onnx import int8_call
from benchmarks.interleaved import Call, interleaved_ms
from benchmarks.peaks import Kind, Peak, peak
from benchmarks.report import print_table, write_json
from benchmarks.shapes import SHAPES, Shape
from benchmarks.single_kernels import call_of, convolution, form_of, packing
from latency_models.compiler.library import compile_model, tile_choice
from latency_models.compiler.lower import TileChoice
from latency_models.devices.cpu import Cpu, host_cpu
from latency_models.kernels.view import REAL
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session
from search_spaces.graphs.model import random_model
from search_spaces.graphs.precision import Precision, get_precision

MEASURED = ("fp32", "w8a8", "w4a8", "w4a4", "w2a2", "w1a2", "bwn", "xnor")
RATIOS = ("speed_up", "packed_speed_up", "as_network_speed_up", "over_int8", "over_int8_nhwc")
Row = dict[str, object]


def peak_kind(precision: Precision) -> Kind:
    if precision.activations == "real":
        return "fp32"
    return "bits" if precision.activation_bits <= 2 else "int8"


def operations(shape: Shape, precision: Precision) -> int:
    """Multiplications and additions; of bits, one pair for each bit of a map and of a weight."""
    pairs = 1
    if peak_kind(precision) == "bits":
        pairs = precision.weight_bits * precision.activation_bits
    return 2 * pairs * shape.macs


def calls_of(
    shape: Shape, precision: Precision, cpu: Cpu, choose: TileChoice, tuned: bool
) -> tuple[dict[str, Call], str]:
    """Returns what is timed for one layer, by name, and our kernel's tile."""
    rng = np.random.default_rng(0)
    real, model = (random_model(shape.graph(p), rng) for p in (get_precision("fp32"), precision))
    x = rng.normal(size=(1, *model.graph.input_shape)).astype(np.float32)
    form = form_of(precision)
    kernel = convolution(shape, precision, form)
    tile = choose(kernel)
    calls = {
        "ort": bound_call(open_session(onnx_model(real).SerializeToString()), x),
        "ours": call_of([(kernel, tile)], cpu),
        "as_network": compile_model(model, cpu, tuned=tuned).bound_call(x),
    }
    if form.bits < 8:
        written = convolution(shape, precision, REAL)
        calls["packed"] = call_of(
            [(packing(shape, precision), None), (written, choose(written))], cpu
        )
    if precision.activation_bits == 8:
        calls["ort_int8"] = int8_call(shape, "qdq")
        calls["ort_int8_nhwc"] = int8_call(shape, "nhwc")
    return calls, f"{tile}"


def measure(
    shape: Shape,
    precision: Precision,
    cpu: Cpu,
    most: Peak,
    tuned: bool,
    timing: Mapping[str, Any],
) -> Row:
    calls, tile = calls_of(shape, precision, cpu, tile_choice(cpu, tuned), tuned)
    times, _ = interleaved_ms([most.call, *calls.values()], **timing)
    peak_ms, ms = times[0], dict(zip(calls, times[1:], strict=True))
    share = operations(shape, precision) / ms["ours"] / (most.operations / peak_ms)
    row: Row = {"kind": shape.kind, "convolution": str(shape), "tile": tile}
    row |= {f"{name}_us": 1e3 * each for name, each in ms.items()}
    row["speed_up"] = ms["ort"] / ms["ours"]
    row["as_network_speed_up"] = ms["ort"] / ms["as_network"]
    if "packed" in ms:
        row["packed_speed_up"] = ms["ort"] / ms["packed"]
    if "ort_int8" in ms:
        row["over_int8"] = ms["ort_int8"] / ms["ours"]
        row["over_int8_nhwc"] = ms["ort_int8_nhwc"] / ms["ours"]
    return row | {"of_peak": float("nan") if shape.depthwise else share, "wide": shape.wide}


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def summary_of(rows: list[Row]) -> dict[str, object]:
    """Geometric means of every ratio by kind of layer, and shares of the peak of wide layers."""
    summary: dict[str, object] = {"shapes": len(rows)}
    for column in (column for column in RATIOS if column in rows[0]):
        kinds: dict[str, list[float]] = {"all": []}
        for row in rows:
            value = row[column]
            assert isinstance(value, float)
            for kind in ("all", str(row["kind"])):
                kinds.setdefault(kind, []).append(value)
        summary[column] = {kind: geometric_mean(values) for kind, values in kinds.items()}
    shares = [row["of_peak"] for row in rows if row["wide"]]
    least = min(shares, default=float("nan"), key=lambda share: float(str(share)))
    wide = [float(str(share)) for share in shares]
    summary["of_peak_wide"] = {"mean": float(np.mean(wide)), "least": least}
    return summary


def print_summary(name: str, summary: Mapping[str, object]) -> None:
    for column, means in summary.items():
        if isinstance(means, Mapping):
            text = ", ".join(f"{kind} {mean:.2f}" for kind, mean in means.items())
            print(f"{name} {column}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=(*MEASURED, "all"), default="all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-ms", type=float, default=5.0)
    parser.add_argument(
        "--cpu-time", action="store_true", help="do not count what other programs take"
    )
    parser.add_argument("--untuned", action="store_true", help="tiles chosen without timing")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu, tuned = host_cpu(), not given.untuned
    timing = {"rounds": given.rounds, "round_ms": given.round_ms}
    timing["clock"] = thread_time if given.cpu_time else perf_counter
    unit = cpu.vector_unit
    everything: list[Row] = []
    summary: dict[str, object] = {"cpu": cpu.mcpu, "tuned": tuned, "dot": unit.dot}
    summary["clock"] = "cpu" if given.cpu_time else "wall"
    summary["popcount"] = unit.popcount
    for name in MEASURED if given.precision == "all" else (given.precision,):
        precision = get_precision(name)
        most = peak(peak_kind(precision), cpu)
        rows: list[Row] = []
        for shape in (shape for shape in SHAPES if shape.offers(precision)):
            row = measure(shape, precision, cpu, most, tuned, timing)
            print(f"{name} {row['convolution']}: {row['speed_up']:.2f}x", flush=True)
            rows.append(row)
        summary[name] = summary_of(rows)
        everything += [{"precision": name} | row for row in rows]
        print_table(f"convolutions, {name}, one thread: ONNX Runtime's time / ours", rows)
        print_summary(name, summary_of(rows))
    write_json(given.json, everything, summary)


if __name__ == "__main__":
    main()
