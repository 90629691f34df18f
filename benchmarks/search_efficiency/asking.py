"""What asking costs, and how busy it keeps many workers: seconds of one core, nothing is trained.

    python -m benchmarks.search_efficiency.asking --run examples/digits_mixed.yaml
    python -m benchmarks.search_efficiency.asking --genes 200
    python -m benchmarks.search_efficiency.asking --genes 40 --workers 512 --trials 1500

What an architecture is worth is made up of its genes. Workers are simulated: a training takes
``--training`` seconds of a clock that runs as fast as asking does on a core of its own.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from time import process_time
from zlib import crc32

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from benchmarks.report import print_table, write_json
from nas.problem.metrics import METRICS
from nas.problem.records import SAMPLERS
from nas.problem.run_file import read_run_file
from nas.search.proposals.gate import Gate
from nas.search.proposals.samplers import make_sampler
from nas.study.names import HASH
from nas.study.study import suggest
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, decide

METRIC = (METRICS["accuracy"], METRICS["latency_ms"])
NEAR = 50  # asks before a number of trials that its cost is the median of


@dataclass(frozen=True)
class Branches:
    """Half of the genes are there with one value of the first gene, half with the other."""

    genes: int
    name: str = "branches"

    def network(self, pick: Pick) -> Graph:
        side = str(pick(Choice("side", ("left", "right"))))
        net = GraphBuilder((1, 4, 4))
        x = net.input
        for at in range(self.genes):
            if at % 2 == (side == "left"):
                width = int(pick(Choice(f"{side}{at}.width", (1, 2, 3, 4))))
                x = net.add(f"layer{at}", Conv2d(width, (1, 1)), x)
        return net.graph()


def worth(architecture: Architecture) -> list[float]:
    """Returns a made-up accuracy and latency: sums over genes, the same for each architecture."""
    parts = [crc32(repr(gene).encode()) / 2**32 for gene in architecture.genes]
    return [0.5 + 0.4 * float(np.tanh(np.mean(parts))), 1 + float(np.sum(np.square(parts)))]


def asked(
    space: SearchSpace, sampler: BaseSampler, trials: int, workers: int, training: float
) -> Iterator[tuple[float, float]]:
    """Yields for each trial what asking for it took and when it was begun, in seconds."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=sampler, directions=[metric.direction for metric in METRIC]
    )
    running: list[tuple[float, int, optuna.Trial, list[float]]] = []
    now = 0.0
    for number in range(trials):
        if len(running) == workers:
            end, _, done, values = heappop(running)
            now = max(now, end)
            study.tell(done, values)
        begun = process_time()
        trial = study.ask()
        architecture = decide(space, suggest(trial))
        trial.set_user_attr(HASH, graph_hash(architecture.graph))
        took = process_time() - begun
        now += took
        heappush(running, (now + training, number, trial, worth(architecture)))
        yield took, now


def busy(begun: NDArray[np.float64], workers: int, training: float) -> float:
    """Returns which share of the time workers train, once each had a trial, until the last ask."""
    start, end = begun[workers - 1], begun[-1]
    inside = np.minimum(begun + training, end) - np.maximum(begun, start)
    return float(np.maximum(inside, 0).sum() / (workers * (end - start)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="run file, whose space is searched")
    parser.add_argument("--genes", type=int, default=200, help="of a made-up conditional space")
    parser.add_argument("--sampler", choices=SAMPLERS, default="surrogate")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--initial", type=int, default=20, help="of these are random")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--training", type=float, default=60.0, help="seconds")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    space = read_run_file(given.run).config().space if given.run else Branches(given.genes)
    sampler = make_sampler(
        given.sampler, space, METRIC, seed=0, initial=given.initial, gate=Gate()
    )
    found = asked(space, sampler, given.trials, given.workers, given.training)
    took, begun = np.array(list(found)).T
    rows = []
    for at in sorted({100, 300, 1000, given.trials}):
        if given.initial < at <= given.trials:
            near = took[max(given.initial, at - NEAR) : at]
            rows.append({"trials": at, "median s": float(np.median(near)), "most s": near.max()})
    if given.workers > 1:
        share = busy(begun, given.workers, given.training)
        rows = [row | {"workers": given.workers, "busy": share} for row in rows]
    print_table(f"asking {given.sampler} on {given.run or space.name}", rows)
    write_json(given.json, rows, {"trials": given.trials})


if __name__ == "__main__":
    main()
