"""Accuracies of a supernet's slices against networks that are trained alone, on CIFAR-10.

    python -m benchmarks.training.supernet alone KEPT --first 0 --last 40   # rows, resumable
    python -m benchmarks.training.supernet short KEPT
    python -m benchmarks.training.supernet scores KEPT
    python -m benchmarks.training.supernet supernet KEPT --epochs 40
    python -m benchmarks.training.supernet cost KEPT
    python -m benchmarks.training.supernet table KEPT --json docs/results/supernet.json

40 random networks of the space of examples/cifar10.yaml are trained alone for 10 epochs of 4,000
images (the truth) and for 3, scored without training, and cut out of a supernet; the table holds
each against the truth by Kendall's tau, with an interval over redrawn networks. All are validated
on 5,000 images, so that the noise of validation is small. Each part keeps its rows in KEPT and
goes on where it was; parts may run at once.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.report import print_table, write_json
from benchmarks.training.scores import naswot, synflow
from nas.problem.records import RunConfig
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import load_setting
from nas.training.accuracy import accuracy
from nas.training.loop import train
from nas.training.supernet.slices import sliced
from nas.training.supernet.state import from_bytes, to_bytes
from nas.training.supernet.steps import SupernetTrainer
from nas.training.supernet.training import SupernetPlan, SupernetReport, train_supernet
from search_spaces.graphs.cost import count_macs, count_params
from search_spaces.space.space import Architecture, sample

RUN = Path("examples/cifar10.yaml")
NETWORKS, SEED = 40, 7
EPOCHS, SHORT_EPOCHS, IMAGES, VALIDATION = 10, 3, 4_000, 5_000
WANTED, WANTED_MORE, WANTED_COST = 0.6, 0.1, 1.3
Row = dict[str, Any]


class Bench:
    """The data, the networks and the rows of a folder."""

    def __init__(self, kept: Path, data: Path, run: Path = RUN) -> None:
        self.kept = kept
        self.run = run
        self.data = data
        kept.mkdir(parents=True, exist_ok=True)

    @cached_property
    def config(self) -> RunConfig:
        torch.set_num_threads(1)
        overrides = [
            f"data.path={self.data / 'cifar10_train.parquet'}",
            f"data.test_path={self.data / 'cifar10_test.parquet'}",
            *(f"data.train={IMAGES}", f"data.validation={VALIDATION}", "baselines=[]"),
        ]
        return read_run_file(self.run, overrides).config(is_tried=True)

    @cached_property
    def plan(self) -> SupernetPlan:
        setting = load_setting(self.config)
        return SupernetPlan(setting.space, setting.tensors, self.config)

    @cached_property
    def networks(self) -> list[Architecture]:
        rng = Random(SEED)
        return [sample(self.plan.space, rng) for _ in range(NETWORKS)]

    def rows(self, part: str) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for path in sorted(self.kept.glob(f"{part}-*.jsonl")):
            found |= {
                row["network"]: row for row in map(json.loads, path.read_text().split("\n")[:-1])
            }
        return found

    def fill(self, part: str, first: int, last: int, of: Callable[[Architecture], Row]) -> None:
        """Adds the rows that are not there yet."""
        for index in range(first, min(last, NETWORKS)):
            if index in self.rows(part):
                continue
            start = process_time()
            row = {"network": index, **of(self.networks[index]), "seconds": process_time() - start}
            with (self.kept / f"{part}-{first}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(part, row, flush=True)

    def trained(self, architecture: Architecture, epochs: int) -> Row:
        config = replace(self.config.training, epochs=epochs)
        result = train(architecture.graph, self.plan.data, config)
        return {"accuracy": result.accuracy, "history": result.validation_accuracy}

    def scored(self, architecture: Architecture) -> Row:
        graph = architecture.graph
        images = self.plan.data.train.inputs(slice(0, 128), graph.input_shape)
        return {
            "params": count_params(graph),
            "macs": count_macs(graph),
            "naswot": naswot(graph, images),
            "synflow": synflow(graph),
        }

    def cut(self, name: str, epochs: int, settings: dict[str, Any]) -> None:
        """Trains a supernet, whose file is kept, and slices all networks."""
        search = self.config.search
        supernet = replace(search.supernet, epochs=epochs, **settings)
        config = replace(self.config, search=replace(search, supernet=supernet))
        plan = SupernetPlan(self.plan.space, self.plan.data, config)
        file = self.kept / f"{name}.safetensors"
        state = from_bytes(file.read_bytes(), plan.store, plan.belongs) if file.exists() else None

        def told(report: SupernetReport) -> None:
            print(name, report.epoch, f"{report.seconds:.0f} s", report.found, flush=True)

        state = train_supernet(
            plan,
            state,
            on_epoch=told,
            on_state=lambda make: save(file, to_bytes(make(), plan.belongs)),
        )
        print(name, f"{state.seconds:.0f} s of training")
        weights = plan.weights(state.arrays)

        def slice_of(architecture: Architecture) -> Row:
            found = accuracy(sliced(weights, architecture, plan.data.train), plan.data.validation)
            return {"accuracy": found, "trained_s": state.seconds}

        self.fill(name, 0, NETWORKS, slice_of)


def save(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)


def cost(bench: Bench, steps: int = 40) -> Row:
    """Returns what a step takes beside one of the largest slice alone on the batch, in turns."""
    plan, supernet = bench.plan, bench.config.search.supernet
    trainers = [
        SupernetTrainer(
            plan.weights(), plan.space, plan.extremes, plan.data.train, plan.config.training,
            supernet, lambda: None,
        )
        for _ in range(2)
    ]  # fmt: skip
    rows = torch.arange(supernet.batch_size)
    trainers[0].share = 1.0
    trainers[0].others = iter(lambda: (), None)
    seconds: list[list[float]] = [[], []]
    for step in range(steps):
        for found, trainer in zip(seconds, trainers, strict=True):
            start = process_time()
            trainer.run_step(rows, 1e-3)
            if step >= 3:
                found.append(process_time() - start)
    means = [float(np.mean(each)) * 1e3 for each in seconds]
    return {"largest_ms": means[0], "step_ms": means[1], "ratio": means[1] / means[0]}


def tau(values: list[float], truth: list[float]) -> tuple[float, float, float]:
    """Returns Kendall's tau, and an interval of 90 % over redrawn networks."""
    rng = np.random.default_rng(0)
    pairs = np.array([values, truth])
    draws = (pairs[:, rng.integers(0, len(truth), len(truth))] for _ in range(1000))
    low, high = np.quantile([kendalltau(*drawn).statistic for drawn in draws], [0.05, 0.95])
    return float(kendalltau(values, truth).statistic), float(low), float(high)


def table(bench: Bench) -> Iterator[Row]:
    alone = bench.rows("alone")
    names = sorted(path.name.rpartition("-")[0] for path in bench.kept.glob("*-0.jsonl"))
    for part in dict.fromkeys(names):
        rows = bench.rows(part)
        common = sorted(rows.keys() & alone.keys())
        truth = [alone[index]["accuracy"] for index in common]
        for key in ("accuracy", "params", "macs", "naswot", "synflow"):
            if common and key in rows[common[0]]:
                found, low, high = tau([rows[index][key] for index in common], truth)
                yield {
                    "by": part if key == "accuracy" else key,
                    "networks": len(common),
                    "tau": round(found, 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                    "mean": round(float(np.mean([rows[index][key] for index in common])), 4),
                    "seconds": round(sum(rows[i]["seconds"] for i in common)),
                    "trained_s": round(rows[common[0]].get("trained_s", 0)),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("part", choices=["alone", "short", "scores", "supernet", "cost", "table"])
    parser.add_argument("kept", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=NETWORKS)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--name", default="supernet")
    parser.add_argument("--set", type=json.loads, default={}, help="JSON of search.supernet")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    bench = Bench(given.kept, given.data)
    if given.part in ("alone", "short"):
        epochs = EPOCHS if given.part == "alone" else SHORT_EPOCHS
        bench.fill(given.part, given.first, given.last, lambda each: bench.trained(each, epochs))
    elif given.part == "scores":
        bench.fill("scores", given.first, given.last, bench.scored)
    elif given.part == "supernet":
        bench.cut(given.name, given.epochs, given.set)
    elif given.part == "cost":
        save(given.kept / "cost.json", json.dumps(cost(bench)).encode())
        print((given.kept / "cost.json").read_text())
    else:
        rows = list(table(bench))
        print_table("Kendall's tau with networks trained alone", rows)
        cost_file = bench.kept / "cost.json"
        costs = json.loads(cost_file.read_text()) if cost_file.exists() else {}
        write_json(given.json, rows, {"cost": costs, "tau_wanted": WANTED})


if __name__ == "__main__":
    start = perf_counter()
    main()
    print(f"{perf_counter() - start:.0f} s")
