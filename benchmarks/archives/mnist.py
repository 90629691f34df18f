"""What the LeNet benchmarks train on, and how: 10,000 images of MNIST, on two cores in minutes."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.compression.training import Shelf
from nas.data.tensors import TensorSplits, place
from nas.problem.records import DataConfig
from nas.problem.search_problem import load_splits
from nas.problem.training_config import TrainingConfig
from search_spaces.graphs.graph import Graph
from search_spaces.networks import get_network

BASE = TrainingConfig(
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.03,
    weight_decay=5e-4,
    warmup_epochs=1.0,
    device="cpu",
)
# What is left after a cut learns from the labels and from the network that was cut.
ROUND = replace(BASE, learning_rate=0.02, warmup_epochs=0.5, distillation_weight=0.5)
# Values that many weights share take the sum of their gradients, so they move by a small rate.
SHARED = replace(ROUND, optimizer="adamw", learning_rate=0.002, weight_decay=0.0)
Bits = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """A network of the paper's, and how far it is taken.

    Attributes:
        paper: Share of its weights that the paper keeps, and what it shares layers at, by pattern.
        paper_ratio: How many times smaller the paper makes it, with Huffman codes.
        rounds: Shares that are left after each round of pruning, and at what its weights are
            shared then, one after the other.
        epochs: Of the whole network, of a round, and of shared values.
    """

    network: str
    paper: tuple[float, Bits]
    paper_ratio: float
    rounds: Mapping[float, tuple[Bits, ...]]
    epochs: tuple[int, int, int]

    def graph(self) -> Graph:
        return get_network(self.network)()

    def recipes(self) -> tuple[TrainingConfig, TrainingConfig, TrainingConfig]:
        """Returns how the whole network, a round and shared values are trained."""
        kinds = zip((BASE, ROUND, SHARED), self.epochs, strict=True)
        whole, pruned, shared = (replace(config, epochs=epochs) for config, epochs in kinds)
        return whole, pruned, shared


SIX: Bits = {"*": 6}
OF_PAPER: Bits = {"conv*": 8, "linear*": 5, "classifier": 5}
CASES = {
    "lenet_300_100": Case(
        "lenet_300_100",
        (0.08, SIX),
        40,
        {
            0.25: (),
            0.12: (),
            0.08: (SIX,),
            0.06: ({"*": 5}, {"*": 4}),
            0.045: ({"*": 5}, {"*": 4}, {"*": 3}),
            0.035: ({"*": 4}, {"*": 3}),
        },
        (25, 10, 6),
    ),
    "lenet5": Case(
        "lenet5",
        (0.084, OF_PAPER),
        39,
        {
            0.25: (),
            0.084: (OF_PAPER,),
            0.03: ({"*": 5}, {"*": 4}),
        },
        (8, 2, 1),
    ),
}


def parser(about: str) -> ArgumentParser:
    """Returns a parser with what all of these benchmarks ask for."""
    made = ArgumentParser(description=about)
    made.add_argument("--data", type=Path, required=True, help="folder of mnist_*.parquet")
    made.add_argument("--network", choices=CASES, default="lenet_300_100")
    made.add_argument("--kept", type=Path, default=Path("runs/archives"))
    made.add_argument("--json", type=Path)
    return made


def load(folder: Path) -> TensorSplits:
    """Returns 9,000 images to train on, 1,000 to validate, and the 10,000 of the test set."""
    settings = {
        "path": str(folder / "mnist_train.parquet"),
        "test_path": str(folder / "mnist_test.parquet"),
        "image_column": "png",
        "channels": 1,
    }
    splits, _ = load_splits(DataConfig("parquet", settings, validation=1000), (28, 28))
    return place(splits)


def shelf_of(given: Namespace) -> Shelf:
    torch.set_num_threads(1)  # small networks lose by more, and one thread repeats exactly
    return Shelf(given.kept / given.network, load(given.data))
