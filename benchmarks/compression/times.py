"""What the networks that ``benchmarks.compression.channels`` keeps take, one thread, in turns.

    python -m benchmarks.compression.times --data DATA --network vgg16 --json FILE

Each network compiled by us and in ONNX Runtime (all optimisations), batch 1, and the ratio of our
time to that of the whole network, ours and ONNX Runtime's. The last row is slimming by half,
distillation and 8 bits after training, end to end.
"""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.numpy import load_file

from benchmarks.compression.channels import cut_of
from benchmarks.compression.networks import NETWORKS
from benchmarks.compression.setting import load, parser
from benchmarks.compression.timing import Times, timed
from benchmarks.compression.training import Shelf
from benchmarks.report import print_table, write_json
from nas.data.tensors import TensorSplits
from nas.nn.calibration import quantize_after_training
from nas.training.accuracy import accuracy
from search_spaces.compression.narrowing import narrowed
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.reprecision import uniform

CALIBRATION = 512


@dataclass(frozen=True, slots=True)
class Kept:
    """A trained network of the shelf.

    Attributes:
        accuracy: On the test images, in 0..1.
    """

    title: str
    model: Model
    accuracy: float


def kept(shelf: Shelf, name: str, width: float) -> list[Kept]:
    """Returns the networks that are there, the whole one first."""
    graph = NETWORKS[name](width)
    base = Model(graph, load_file(shelf.folder / "base.safetensors"))
    sparse = Model(graph, load_file(shelf.folder / "sparse.safetensors"))
    graphs = {"base": graph, "sparse": graph}
    for ratio in (0.5, 0.7):
        cut = cut_of(sparse, ratio).graph
        graphs |= {f"slim {ratio:g} {how}": cut for how in ("fine", "distilled")}
    graphs["plain 0.3 fine"] = cut_of(base, 0.3).graph
    graphs |= {f"direct {factor:g}": narrowed(graph, factor) for factor in (0.5, 0.25)}
    found = []
    for title, each in graphs.items():
        about = shelf.folder / f"{title}.json"
        if about.exists():
            model = Model(each, load_file(shelf.folder / f"{title}.safetensors"))
            found.append(Kept(title, model, json.loads(about.read_text())["accuracy"]))
    return found


def quantized(model: Model, data: TensorSplits) -> Model:
    """Returns a network at 8 bits, its ends too, by post-training quantization."""
    graph = uniform(model.graph, W8A8, W8A8)
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    images = data.train.inputs(rows[:CALIBRATION], model.graph.input_shape)
    return quantize_after_training(graph, model, images, "l2", per_channel=True)


def main() -> None:
    given = parser(__doc__).parse_args()
    shelf = Shelf(given.kept / given.network, load(given))
    networks = kept(shelf, given.network, given.width)
    (half,) = (each for each in networks if each.title == "slim 0.5 distilled")
    small = quantized(half.model, shelf.data)
    networks.append(Kept("slim 0.5 distilled w8a8", small, accuracy(small, shelf.data.test)))
    file_times(given, networks)


def file_times(given: Namespace, networks: Sequence[Kept]) -> None:
    """Times networks in turns, the whole one first, and prints and files the table."""
    times = timed([each.model for each in networks])
    rows = [
        table_row(each, networks[0], took, times[0])
        for each, took in zip(networks, times, strict=True)
    ]
    print_table(f"{given.network} at {given.width:g} times its widths", rows)
    write_json(given.json, rows, {"network": given.network, "width": given.width})


def table_row(each: Kept, whole: Kept, took: Times, whole_took: Times) -> dict[str, object]:
    cost, before = network_cost(each.model.graph), network_cost(whole.model.graph)
    return {
        "network": each.title,
        "accuracy %": 100 * each.accuracy,
        "params": cost.params,
        "params x": cost.params / before.params,
        "macs x": cost.macs / before.macs,
        "bytes": cost.weight_bytes,
        "ours ms": took.ours,
        "spread ms": took.spread,
        "ORT ms": took.ort,
        "ours/whole ours": took.ours / whole_took.ours,
        "ours/whole ORT": took.ours / whole_took.ort,
    }


if __name__ == "__main__":
    main()
