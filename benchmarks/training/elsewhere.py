"""The fast recipe against the plain one where it was not found: other data, low bits, no norms.

    python -m benchmarks.training.elsewhere --data DATA --kept FILE

Each row is a network trained by both recipes with the same seed and epochs; they are kept in FILE
as they end, and a run that is killed goes on.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import torch

from benchmarks.report import print_table, write_json
from benchmarks.training.ingredients import cifar
from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplits, place
from nas.problem.run_file import read_run_file
from nas.problem.training_config import training_config
from nas.training.loop import train
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import get_precision
from search_spaces.networks import get_network
from search_spaces.quantization.reprecision import uniform
from search_spaces.space.space import sample

DIGITS = Path("examples/digits.yaml")
SHIFT = {"shift": 0.125}
OF_PICTURES = {"flip": True, "shift": 0.125}
EPOCHS = 10


@cache
def digits() -> TensorSplits:
    return place(split(load(make_source("digits")).data, validation=0.25, test=0.25, seed=0))


@cache
def mnist(folder: Path) -> TensorSplits:
    path = str(folder / "mnist_train.parquet")
    source = make_source(
        "parquet", path=path, image_column="png", label_column="label", channels=1
    )
    return place(split(load(source).data, validation=2000, test=100, train=2000, seed=0))


@cache
def few_pictures(folder: Path) -> TensorSplits:
    data = cifar(folder)
    return TensorSplits(data.train.take(slice(2000)), data.validation.take(slice(2000)), data.test)


def of_digits(seed: int) -> Graph:
    space = replace(read_run_file(DIGITS).config().space, in_channels=1, num_classes=10)
    return sample(space, Random(seed)).graph


def small_resnet(precision: str) -> Graph:
    graph = get_network("resnet18")(width=0.125, resolution=16, num_classes=10, in_channels=1)
    return uniform(graph, get_precision(precision))


Subject = tuple[Callable[[], Graph], Callable[[], TensorSplits], Mapping[str, Any]]


def subjects(folder: Path) -> Iterator[tuple[str, Subject]]:
    for seed in range(4):
        yield f"digits, network {seed}", (lambda s=seed: of_digits(s), digits, SHIFT)  # type: ignore[misc]
    for name in ("w8a8", "w4a4", "w2a2", "bwn", "xnor"):
        yield f"digits, resnet18 {name}", (lambda n=name: small_resnet(n), digits, SHIFT)  # type: ignore[misc]

    def built(network: str, width: float, channels: int, side: int = 32) -> Callable[[], Graph]:
        return lambda: get_network(network)(
            width=width, resolution=side, num_classes=10, in_channels=channels
        )

    for network in ("lenet5", "mobilenet_v2"):
        width = 1.0 if network == "lenet5" else 0.35
        yield f"mnist, {network}", (built(network, width, 1), lambda: mnist(folder), SHIFT)
    for network, width, side in (
        ("alexnet", 0.125, 64),
        ("vgg16", 0.125, 32),
        ("squeezenet_1_1", 0.25, 32),
    ):
        make = built(network, width, 3, side)
        yield f"cifar10, {network} (no norms)", (make, lambda: few_pictures(folder), OF_PICTURES)


def measured(name: str, subject: Subject, epochs: int, seed: int) -> dict[str, Any]:
    make, data, augmentation = subject
    row: dict[str, Any] = {"subject": name, "epochs": epochs, "seed": seed}
    for recipe in ("plain", "fast"):
        config = training_config(
            recipe=recipe, epochs=epochs, seed=seed, augmentation=dict(augmentation)
        )
        graph, split_data = make(), data()
        start = process_time()
        result = train(graph, split_data, config)
        seconds = process_time() - start
        row |= {f"{recipe}_%": 100 * result.accuracy, f"{recipe}_cpu_s": seconds}
    return row | {"beyond_points": row["fast_%"] - row["plain_%"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--kept", type=Path, required=True, help="a row for each pair done")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="subjects whose name has this in it")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = given.kept.read_text().splitlines() if given.kept.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["subject"], row["epochs"], row["seed"]) for row in rows}
    with given.kept.open("a") as file:
        for seed in range(given.seeds):
            for name, subject in subjects(given.data):
                if given.only in name and (name, given.epochs, seed) not in done:
                    rows.append(measured(name, subject, given.epochs, seed))
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
    print_table(f"recipes elsewhere, {given.epochs} epochs", rows)
    write_json(given.json, rows, {})


if __name__ == "__main__":
    main()
