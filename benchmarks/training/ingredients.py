"""What each ingredient of a training recipe brings, on networks drawn from a space.

    python -m benchmarks.training.ingredients --data DATA --kept FILE --epochs 10 --seeds 3 \\
        --json docs/results/ingredients.json

Networks are drawn from the space of `examples/cifar10.yaml` and trained on 4,000 images of
CIFAR-10, one thread each; scored are 4,000 others of the training file. Each row is one training
and is kept in FILE as soon as it ends, so a run that is killed goes on. The table has for each
variant the mean accuracy, and beside the first variant the mean difference of equal networks and
seeds with its standard error. A variant is a name below, or ``NAME:key=value,key=value`` beside
the plain recipe.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import numpy as np
import torch

from benchmarks.report import print_table, write_json
from nas.data.augmentation.settings import Augmentation
from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplits, place
from nas.problem import yaml_text
from nas.problem.run_file import read_run_file
from nas.problem.training_config import TrainingConfig
from nas.training.loop import train
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import sample

EXAMPLE = Path("examples/cifar10.yaml")
TRAIN, VALIDATION = 4000, 4000
# Settings beside those of the example before it had a recipe.
MUON, WHITE, LINE = "optimizer=muon,learning_rate=0.02", "whitening=true", "fall=linear"
VARIANTS: Mapping[str, str] = {
    "plain": "",
    "fast": f"{MUON},{WHITE},{LINE}",
    "fast without muon": f"learning_rate=0.02,{WHITE},{LINE}",
    "fast without whitening": f"{MUON},{LINE}",
    "fast without a straight fall": f"{MUON},{WHITE}",
    "fast with smoothed labels": f"{MUON},{WHITE},{LINE},label_smoothing=0.1",
}
PLAIN = TrainingConfig(
    batch_size=64, learning_rate=0.005, augmentation=Augmentation(flip=True, shift=0.125)
)


@cache
def candidates(number: int) -> tuple[Graph, ...]:
    """Returns the first networks that a seed draws from the example's space."""
    config = read_run_file(EXAMPLE).config()
    space = replace(config.space, in_channels=3, num_classes=10)
    rng = Random(0)
    return tuple(sample(space, rng).graph for _ in range(number))


@cache
def cifar(folder: Path) -> TensorSplits:
    path = str(folder / "cifar10_train.parquet")
    source = make_source("parquet", path=path, image_column="jpeg", label_column="label")
    return place(split(load(source).data, validation=VALIDATION, test=100, train=TRAIN, seed=0))


def settings_of(text: str) -> dict[str, Any]:
    """Returns the settings of a variant, ``key=value,augmentation.key=value``."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        found[key] = yaml_text.load(value)
    return found


def config_of(text: str, epochs: int, seed: int) -> TrainingConfig:
    settings = settings_of(text)
    of_images = {
        key.partition(".")[2]: settings.pop(key)
        for key in list(settings)
        if key.startswith("augmentation.")
    }
    augmentation = replace(PLAIN.augmentation, **of_images)
    return replace(PLAIN, epochs=epochs, seed=seed, augmentation=augmentation, **settings)


Job = tuple[str, str, int, int, int]  # variant, its settings, epochs, candidate, seed


def run(job: Job, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    name, text, epochs, index, seed = job
    graph, data = candidates(index + 1)[index], cifar(folder)
    start = process_time()
    result = train(graph, data, config_of(text, epochs, seed))
    return {
        "variant": name,
        "settings": text,
        "epochs": epochs,
        "candidate": index,
        "seed": seed,
        "accuracy": result.accuracy,
        "history": result.validation_accuracy,
        "cpu_s": process_time() - start,
    }


def job_of(row: Mapping[str, Any]) -> Job:
    """Returns what a row is of."""
    return row["variant"], row["settings"], row["epochs"], row["candidate"], row["seed"]


def summary(rows: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> list[dict[str, Any]]:
    """Returns for each variant its mean, and what it is beyond the first one's."""
    by = {
        name: {(r["candidate"], r["seed"]): r for r in rows if r["variant"] == name}
        for name in variants
    }
    table = []
    for name in variants:
        both = sorted(by[name].keys() & by[variants[0]].keys())
        beyond = np.array(
            [by[name][key]["accuracy"] - by[variants[0]][key]["accuracy"] for key in both]
        )
        error = beyond.std(ddof=1) / len(beyond) ** 0.5 if len(beyond) > 1 else float("nan")
        table.append(
            {
                "variant": name,
                "trainings": len(by[name]),
                "accuracy_%": 100 * float(np.mean([r["accuracy"] for r in by[name].values()])),
                "beyond_points": 100 * float(beyond.mean()) if len(beyond) else float("nan"),
                "error_points": 100 * float(error),
                "cpu_s": float(np.mean([row["cpu_s"] for row in by[name].values()])),
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--kept", type=Path, required=True, help="a row for each training done")
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), help="NAME[:KEY=VALUE,...]"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--candidates", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    named = [text.partition(":") for text in given.variants]
    texts = {name: text if colon else VARIANTS[name] for name, colon, text in named}
    lines = given.kept.read_text().splitlines() if given.kept.exists() else []
    rows = [json.loads(line) for line in lines]
    done = set(map(job_of, rows))
    jobs = [
        (name, text, given.epochs, index, seed)
        for seed in range(given.seeds)
        for name, text in texts.items()
        for index in given.candidates
    ]
    left = [job for job in jobs if job not in done]
    with ProcessPoolExecutor(given.processes) as pool, given.kept.open("a") as file:
        for future in as_completed([pool.submit(run, job, given.data) for job in left]):
            rows.append(future.result())
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    wanted = set(jobs)
    shown = [
        row
        for row in rows
        if (row["variant"], row["settings"], row["epochs"], row["candidate"], row["seed"])
        in wanted
    ]
    print_table(f"recipes, {given.epochs} epochs of {TRAIN} images", summary(shown, list(texts)))
    write_json(given.json, shown, {"table": summary(shown, list(texts)), "variants": texts})


if __name__ == "__main__":
    main()
