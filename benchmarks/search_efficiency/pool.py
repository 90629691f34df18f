"""Pools: some architectures of a space that is too large to be known whole, each trained once.

A sampler proposes as ever, conditional genes included; the architecture of the pool that has most
genes in common with its proposal, and was not evaluated yet, takes its place. So all samplers
search the pool on equal terms, and learn only of what was trained.

    nas search examples/digits_mixed.yaml --trials 300 --workers 1 --set name=pool \\
        --set search.sampler=random --set training.epochs=4 --set reference={} \\
        --set objectives=[accuracy,macs,size_bytes]
    python -m benchmarks.search_efficiency.pool runs/pool --space examples/digits_mixed.yaml \\
        --to benchmarks/search_efficiency/digits_mixed.json

A run with ``--set search.seed=1`` brings others; ``--beside FILE`` puts them after a pool's own.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from benchmarks.search_efficiency.outcomes import TOLD_AS, Outcomes, Values
from nas.problem.metrics import Metric
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import load_setting
from nas.runs.provenance import machine, versions
from nas.search.proposals.gate import SpaceUsedUpError
from nas.search.proposals.planning import OuterSampler
from nas.study.names import HASH
from nas.study.results import TrialResult, load_results
from search_spaces.building.choice import Pick, Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, SearchSpace, restore

ROOT = Path(__file__).parents[2]
NUMBERS = ("accuracy", "macs", "size_bytes")
POOLS = {  # file and cost, by the problem's name
    f"digits_mixed {cost}": (Path(__file__).parent / "digits_mixed.json", cost)
    for cost in NUMBERS[1:]
}

Genes = Mapping[str, Value]
Row = tuple[Genes, list[float]]  # genes and numbers


@dataclass(frozen=True)
class Pool(Outcomes):
    """Architectures of a space with their accuracy and one cost; itself a space to search.

    Attributes:
        genes: Of each architecture.
        values: Accuracy and cost of each, (architectures, 2).
    """

    name: str
    space: SearchSpace
    genes: tuple[Genes, ...]
    values: Values
    metrics: tuple[Metric, Metric] = TOLD_AS

    def network(self, pick: Pick) -> Graph:
        return self.space.network(pick)

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        return tuple(restore(self.space, genes) for genes in self.genes)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Which architecture a graph is, by its hash."""
        return {graph_hash(a.graph): row for row, a in enumerate(self.architectures)}

    def row_of(self, graph: Graph) -> int:
        return self.rows[graph_hash(graph)]

    def nearest(self, genes: Genes, taken: frozenset[object]) -> int:
        """Returns the row that shares most with ``genes``, of those whose hash is not taken.

        What is shared counts by its part of all genes that either has, as one that has many
        genes would else be near to everything. Of equals the first is returned.

        Raises:
            SpaceUsedUpError: If all are taken.
        """
        left = [row for key, row in self.rows.items() if key not in taken]
        if not left:
            raise SpaceUsedUpError(f"pool {self.name!r} has no more architectures")
        return max(left, key=lambda row: in_common(genes, self.genes[row]))


def in_common(one: Genes, other: Genes) -> float:
    """Returns what share of the genes of two architectures is equal in both, 0..1.

    >>> in_common({"kind": "fire", "width": 8}, {"kind": "fire", "width": 16})
    0.3333333333333333
    """
    shared = one.items() & other.items()
    return len(shared) / (len(one) + len(other) - len(shared))


class NearestSampler(OuterSampler):
    """Plans the architecture of a pool that is nearest to what another sampler proposes."""

    def __init__(self, inner: BaseSampler, pool: Pool) -> None:
        super().__init__(inner, pool)
        self.pool = pool

    def plan(self, study: Study, trial: FrozenTrial) -> Architecture:
        """Returns the architecture that ``trial`` shall be.

        Raises:
            SpaceUsedUpError: If all of the pool were proposed.
        """
        wanted = dict(self.proposed(study, trial).genes)
        trials = study.get_trials(deepcopy=False)
        seen = {t.user_attrs.get(HASH) for t in trials if t.state != TrialState.FAIL}
        return self.pool.architectures[self.pool.nearest(wanted, frozenset(seen))]


def read_pool(file: Path, cost: str) -> Pool:
    """Returns the pool of a file, whose cost is one of its numbers.

    Raises:
        UserError: If the file has no such cost.
    """
    data = json.loads(file.read_text())
    names, numbers = data["genes"], data["numbers"]
    if cost not in numbers[1:]:
        raise UserError(f"{file} has no cost {cost!r}; it has {', '.join(numbers[1:])}")
    rows = data["rows"]
    genes = tuple(
        {name: value for name, value in zip(names, row, strict=False) if value is not None}
        for row in rows
    )
    columns = [len(names) + numbers.index(name) for name in (numbers[0], cost)]
    values = np.array([[row[at] for at in columns] for row in rows], dtype=np.float64)
    space = read_run_file(ROOT / data["space"]).config().space
    space = replace(space, in_channels=data["channels"], num_classes=data["classes"])
    return Pool(f"{file.stem} {cost}", space, genes, values)


def as_json(run: Path, space: str, beside: Path | None = None) -> str:
    """Returns what a run found of each architecture it trained to the end, one a line.

    Args:
        beside: A pool whose rows stay, before those that it does not have.

    Raises:
        UserError: If that pool is of another space or was trained for other epochs.
    """
    results = load_results(run)
    searched, training = load_setting(results.config).space, results.config.training
    head: dict[str, object] = {
        "space": space,
        "channels": searched.in_channels,
        "classes": searched.num_classes,
        "epochs": training.epochs,
    }
    found = known_rows(beside, head) if beside is not None else {}
    for trial in results.trials:
        if trial.genes and trial.evaluation.status == "finished":
            found.setdefault(frozenset(trial.genes.items()), row_of(trial))
    names = list(dict.fromkeys(name for genes, _ in found.values() for name in genes))
    head |= {
        "machine": machine(),
        "versions": versions(),
        "genes": names,
        "numbers": list(NUMBERS),
    }
    lines = [
        json.dumps([*(genes.get(name) for name in names), *numbers])
        for genes, numbers in found.values()
    ]
    text = json.dumps(head, indent=1).removesuffix("\n}")
    return text + ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def known_rows(file: Path, head: Mapping[str, object]) -> dict[frozenset[object], Row]:
    """Returns the rows of a pool by their genes.

    Raises:
        UserError: If it is not of what ``head`` says.
    """
    data = json.loads(file.read_text())
    for name, value in head.items():
        if data[name] != value:
            raise UserError(f"{file} has {name} {data[name]!r}, the run has {value!r}")
    names, found = data["genes"], dict[frozenset[object], Row]()
    for row in data["rows"]:
        pairs = zip(names, row, strict=False)
        genes = {name: value for name, value in pairs if value is not None}
        found[frozenset(genes.items())] = genes, row[len(names) :]
    return found


def row_of(trial: TrialResult) -> Row:
    """Returns genes, and numbers as they are filed."""
    accuracy, *costs = (trial.evaluation.values[name] for name in NUMBERS)
    whole = [int(number) if number == int(number) else number for number in costs]
    return trial.genes, [round(accuracy, 6), *whole]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run of random architectures")
    parser.add_argument("--space", required=True, help="its run file, from the top folder")
    parser.add_argument("--beside", type=Path, help="a pool whose rows stay")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    given.to.write_text(as_json(given.run, given.space, given.beside))


if __name__ == "__main__":
    main()
