"""CIFAR-10 in full: ResNet-20 on all 50,000 images by the fast recipe, and what that cost.

    python -m benchmarks.training.full --data DATA --kept FILE --json docs/results/full.json

The training's state is kept in FILE after each epoch, so one that is killed goes on. The test
images are scored once, at the end. Operations are counted as the literature on fast training does:
two for each multiplication and addition, three times the forward pass for a step.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.compression.networks import resnet
from benchmarks.report import print_table, write_json
from nas.data.images import concatenated
from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplits, place
from nas.problem.training_config import training_config
from nas.runs.files import write_whole
from nas.training.accuracy import accuracy
from nas.training.loop import Training
from nas.training.state import Recipe, data_fingerprint, from_bytes, to_bytes
from search_spaces.graphs.cost import network_cost

WANTED, MOST_MINUTES = 0.88, 45.0
AIRBENCH_PFLOP = 0.29  # to 94 %, by the published figures of the original images


def cifar(folder: Path) -> TensorSplits:
    """Returns all training images to train on, 500 of them to watch, and the test images."""
    known = {"image_column": "jpeg", "label_column": "label"}
    train, test = (
        load(make_source("parquet", path=str(folder / f"cifar10_{name}.parquet"), **known)).data
        for name in ("train", "test")
    )
    parts = split(train, test, seed=0, validation=500)
    tensors = place(parts)
    everything = place(
        type(parts)(
            concatenated("train", parts.train, parts.validation),
            parts.validation,
            parts.test,
            parts.normalization,
        )
    )
    return TensorSplits(everything.train, tensors.validation, tensors.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--kept", type=Path, required=True, help="where the training goes on")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data, graph = cifar(given.data), resnet(given.width)
    config = training_config(
        epochs=given.epochs, augmentation={"flip": True, "shift": 0.125, "padding": "reflect"}
    )
    recipe = Recipe(graph, config, data_fingerprint(data), "cpu")
    state = from_bytes(given.kept.read_bytes(), recipe) if given.kept.exists() else None
    training = Training(graph, data, config, state=state)
    while not training.is_over:
        report = training.run_epoch()
        write_whole(given.kept, to_bytes(training.state(), recipe))
        print(report, flush=True)
    result = training.result()
    cost = network_cost(graph)
    tested = accuracy(result.model, data.test)
    pflop = 2 * 3 * cost.macs * len(data.train) * given.epochs / 1e15
    row = {
        "network": "resnet20",
        "params": cost.params,
        "epochs": given.epochs,
        "minutes": result.seconds / 60,
        "pflop": pflop,
        "test_%": 100 * tested,
        "met": tested >= WANTED and result.seconds / 60 <= MOST_MINUTES,
    }
    print_table("CIFAR-10 in full", [row])
    history = {"watched": result.validation_accuracy, "train_loss": result.train_loss}
    write_json(given.json, [row], {"airbench_pflop_to_94": AIRBENCH_PFLOP, **history})


if __name__ == "__main__":
    main()
