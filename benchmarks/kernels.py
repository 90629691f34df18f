"""Our float32 convolutions against ONNX Runtime's, one thread, in turns, over many shapes.

    python -m benchmarks.kernels --json docs/results/kernels.json

Each row is a graph of one convolution with bias and ReLU. ONNX Runtime gets plain NCHW with every
optimisation on and converts inside; ours is timed both as the kernel alone, between maps that lie
as they do inside a network, and as a network of its own, its input and output turned from and to
NCHW, which is what a file with that one layer would cost.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.interleaved import Call, interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.compiled import compile_model, tile_choice
from latency_models.kernels.cpu import Cpu, host_cpu
from latency_models.lowering import TiledKernel, lower
from latency_models.onnx_model import onnx_model
from latency_models.onnx_runtime import bound_call, open_session
from latency_models.tuning import tile_calls
from search_spaces.builder import GraphBuilder
from search_spaces.model import Model, random_model
from search_spaces.operators import Conv2d


@dataclass(frozen=True, slots=True)
class Shape:
    """One convolution: square kernel and map."""

    kind: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        groups = f" /{self.groups}" if 1 < self.groups < self.in_channels else ""
        stride = f" s{self.stride}" if self.stride > 1 else ""
        ends = f"{self.in_channels}->{self.out_channels}"
        return f"{ends} {self.kernel}x{self.kernel}{stride}{groups} @{self.size}"

    def model(self) -> Model:
        net = GraphBuilder((self.in_channels, self.size, self.size))
        conv = Conv2d(
            self.out_channels,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            groups=self.groups,
            norm="none",
            bias=True,
        )
        net.add("conv", conv, net.input)
        return random_model(net.graph(), np.random.default_rng(0))


def depthwise(channels: int, size: int, kernel: int = 3, stride: int = 1) -> Shape:
    return Shape("depthwise", channels, channels, size, kernel, stride, channels)


SHAPES = (
    Shape("3x3", 64, 64, 56),
    Shape("3x3", 128, 128, 28),
    Shape("3x3", 256, 256, 14),
    Shape("3x3", 512, 512, 7),
    Shape("3x3", 30, 50, 28),
    Shape("3x3 strided", 3, 32, 224, stride=2),
    Shape("3x3 strided", 64, 128, 56, stride=2),
    Shape("5x5", 48, 64, 28, kernel=5),
    Shape("1x1", 32, 96, 112, kernel=1),
    Shape("1x1", 144, 24, 56, kernel=1),
    Shape("1x1", 128, 128, 28, kernel=1),
    Shape("1x1", 116, 116, 28, kernel=1),
    Shape("1x1", 96, 576, 14, kernel=1),
    Shape("1x1", 576, 96, 14, kernel=1),
    Shape("1x1", 90, 70, 14, kernel=1),
    Shape("1x1", 960, 160, 7, kernel=1),
    Shape("grouped", 240, 240, 28, kernel=1, groups=3),
    Shape("grouped", 384, 96, 14, kernel=1, groups=8),
    Shape("grouped", 128, 128, 28, groups=4),
    depthwise(32, 112),
    depthwise(96, 112, stride=2),
    depthwise(144, 56),
    depthwise(192, 28),
    depthwise(116, 28),
    depthwise(576, 14),
    depthwise(120, 28, kernel=5),
    depthwise(960, 7),
)


def kernel_call(model: Model, cpu: Cpu, tuned: bool) -> tuple[Call, str]:
    """Returns a call of the model's one convolution, and its tile."""
    choose = tile_choice(cpu, tuned)
    network = lower(model, cpu.vector_unit, choose)
    (step,) = (step for step in network.steps if isinstance(step.kernel, TiledKernel))
    assert isinstance(step.kernel, TiledKernel)
    (call,) = tile_calls(step.kernel, [step.tile], cpu)
    return call, str(step.tile)


def measure(
    shape: Shape, cpu: Cpu, tuned: bool, rounds: int, round_ms: float
) -> dict[str, object]:
    model = shape.model()
    x = np.random.default_rng(1).normal(size=(1, *model.graph.input_shape)).astype(np.float32)
    kernel, tile = kernel_call(model, cpu, tuned)
    whole = compile_model(model, cpu, tuned=tuned).bound_call(x)
    reference = bound_call(open_session(onnx_model(model).SerializeToString()), x)
    (ours, alone, theirs), _ = interleaved_ms(
        (kernel, whole, reference), rounds=rounds, round_ms=round_ms
    )
    out = -(-shape.size // shape.stride)
    flop = 2 * out * out * shape.out_channels * shape.kernel**2 * shape.in_channels / shape.groups
    return {
        "kind": shape.kind,
        "convolution": str(shape),
        "tile": tile,
        "ours_us": 1e3 * ours,
        "ort_us": 1e3 * theirs,
        "gflop_s": flop / ours / 1e6,
        "speed_up": theirs / ours,
        "as_network_us": 1e3 * alone,
        "as_network_speed_up": theirs / alone,
    }


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-ms", type=float, default=5.0)
    parser.add_argument("--untuned", action="store_true", help="tiles chosen without timing")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cpu = host_cpu()
    rows = []
    for shape in SHAPES:
        rows.append(measure(shape, cpu, not given.untuned, given.rounds, given.round_ms))
        print(f"{rows[-1]['convolution']}: {rows[-1]['speed_up']:.2f}x", flush=True)
    summary: dict[str, object] = {"cpu": cpu.mcpu, "tuned": not given.untuned}
    for column in ("speed_up", "as_network_speed_up"):
        kinds: dict[str, list[float]] = {"all": []}
        for row in rows:
            value = row[column]
            assert isinstance(value, float)
            kinds["all"].append(value)
            kinds.setdefault(str(row["kind"]), []).append(value)
        summary[column] = {kind: geometric_mean(values) for kind, values in kinds.items()}
    print_table("convolutions, float32, one thread: ORT time / ours", rows)
    for column in ("speed_up", "as_network_speed_up"):
        means = summary[column]
        assert isinstance(means, dict)
        print(column, ", ".join(f"{kind} {mean:.2f}" for kind, mean in means.items()))
    write_json(given.json, rows, summary)


if __name__ == "__main__":
    main()
