"""One network trained at every precision: accuracy, bytes, milliseconds.

    python -m benchmarks.accuracy_by_precision examples/digits.yaml --seeds 3
    python -m benchmarks.accuracy_by_precision examples/cifar10.yaml --epochs 8 \\
        --set data.path=... --set data.test_path=... --set data.train=10000

Data and recipe are those of the run file, its space is not used. The network is a small ResNet of
basic blocks; its first convolution and classifier have 8 bits, or float32 where maps are real or
binary. A low-bit network starts from the same network trained in float32 for half of the epochs,
and learns from it (distillation); the float32 one trains for all of them without.

Test accuracy is counted twice: by torch, which simulates the codes, and by the compiled kernels.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.interleaved import interleaved_ms
from benchmarks.report import print_table, write_json
from latency_models.compiler.library import CompiledModel, compile_model
from latency_models.devices.cpu import Cpu, host_cpu
from nas.data.tensors import TensorSplits
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import load_setting
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import logits
from nas.training.loop import train
from search_spaces.blocks import get_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, Shape
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8, Precision


def small_resnet(
    shape: Shape, num_classes: int, widths: Sequence[int], precision: Precision
) -> Graph:
    """A stem, a basic block that strides and one that does not for each width, a classifier."""
    ends = W8A8 if precision.activations == "integer" else FP32
    net = GraphBuilder(shape)
    x = net.add("stem", Conv2d(widths[0], (3, 3), precision=ends), net.input)
    for index, width in enumerate(widths):
        for depth in range(2):
            stride = 2 if index and not depth else 1
            with net.scope(f"stage{index}.layer{depth}"):
                layer = Layer(width, stride, precision=precision)
                x = get_block("residual_basic")().add_to(net, x, layer)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(num_classes, precision=ends), x)
    return net.graph()


def recipe(given: TrainingConfig, precision: Precision, seed: int) -> TrainingConfig:
    half = given.epochs // 2
    if precision == FP32:
        return replace(given, seed=seed)
    return replace(given, seed=seed, epochs=given.epochs - half, fp32_epochs=half)


def compiled_accuracy(compiled: CompiledModel, data: TensorSplits, shape: Shape) -> float:
    """Share of test images whose largest output, by the kernels, is their class."""
    found = [
        int(compiled.run(image).argmax())
        for images, _ in data.test.batches(shape, 256)
        for image in images.cpu().numpy()
    ]
    return float(np.mean(np.array(found) == data.test.labels.cpu().numpy()))


def measure(
    precision: Precision, data: TensorSplits, shape: Shape, config: TrainingConfig, seeds: int,
    widths: Sequence[int], cpu: Cpu,
) -> tuple[dict[str, object], Model]:  # fmt: skip
    classes = data.train.num_classes
    by_torch, by_kernels = [], []
    for seed in range(seeds):
        graph = small_resnet(shape, classes, widths, precision)
        model = train(graph, data, recipe(config, precision, seed)).model
        outputs = logits(fold_batch_norm(model), data.test)
        by_torch.append(float((outputs.argmax(1) == data.test.labels).float().mean()))
        by_kernels.append(compiled_accuracy(compile_model(model, cpu), data, shape))
        print(f"{precision}: seed {seed}: {by_torch[-1]:.4f} {by_kernels[-1]:.4f}", flush=True)
    row: dict[str, object] = {
        "precision": precision.name,
        "accuracy": float(np.mean(by_kernels)),
        "spread": float(np.std(by_kernels)),
        "by_torch": float(np.mean(by_torch)),
        "largest_difference": float(np.abs(np.subtract(by_torch, by_kernels)).max()),
        "size_bytes": network_cost(graph).weight_bytes,
    }
    return row, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    run = read_run_file(given.config, given.set).config()
    setting = load_setting(run)
    config = replace(run.training, epochs=given.epochs or run.training.epochs)
    resolution = given.resolution or max(run.space.resolutions)
    shape = (setting.space.in_channels, resolution, resolution)
    cpu = host_cpu()
    rows, calls = [], []
    rng = np.random.default_rng(0)
    for name in given.precisions:
        row, model = measure(
            PRECISIONS[name], setting.tensors, shape, config, given.seeds, given.widths, cpu
        )
        rows.append(row)
        image = rng.normal(size=shape).astype(np.float32)
        calls.append(compile_model(model, cpu).bound_call(image))
    times, _ = interleaved_ms(calls, rounds=21, round_ms=10)
    for row, ms in zip(rows, times, strict=True):
        row |= {"ms": ms, "times_faster": times[0] / ms}
    print_table(f"a small ResNet on {run.data.kind} by precision", rows)
    counts = {split: len(getattr(setting.tensors, split)) for split in ("train", "test")}
    summary = {"images": counts, "epochs": config.epochs, "seeds": given.seeds, "shape": shape}
    write_json(given.json, rows, summary | {"widths": given.widths, "cpu": cpu.mcpu})


if __name__ == "__main__":
    main()
