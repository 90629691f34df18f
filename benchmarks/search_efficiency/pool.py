"""Pools: some architectures of a space that is too large to be known whole, each trained once.

A sampler proposes as ever, conditional genes included; the architecture of the pool that has most
genes in common with its proposal, and was not evaluated yet, takes its place. So all samplers
search the pool on equal terms, and learn only of what was trained.

    nas search examples/digits_mixed.yaml --trials 300 --workers 1 --set name=pool \\
        --set search.sampler=random --set training.epochs=4 --set reference={} \\
        --set objectives=[accuracy,macs,size_bytes]
    python -m benchmarks.search_efficiency.pool runs/pool --space examples/digits_mixed.yaml \\
        --to benchmarks/search_efficiency/digits_mixed.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
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
from nas.study.results import load_results
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


def as_json(run: Path, space: str) -> str:
    """Returns what a run found of each architecture it trained to the end, one a line."""
    results = load_results(run)
    trials = [t for t in results.trials if t.genes and t.evaluation.status == "finished"]
    searched, training = load_setting(results.config).space, results.config.training
    names = list(dict.fromkeys(name for trial in trials for name in trial.genes))
    head = {
        "space": space,
        "channels": searched.in_channels,
        "classes": searched.num_classes,
        "epochs": training.epochs,
        "machine": machine(),
        "versions": versions(),
        "genes": names,
        "numbers": list(NUMBERS),
    }
    lines = [json.dumps(row_of(t.genes, t.evaluation.values, names)) for t in trials]
    text = json.dumps(head, indent=1).removesuffix("\n}")
    return text + ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def row_of(genes: Genes, values: Mapping[str, float], names: Sequence[str]) -> list[Value | None]:
    numbers = [values[name] for name in NUMBERS]
    whole = [int(number) if number == int(number) else number for number in numbers[1:]]
    return [*(genes.get(name) for name in names), round(numbers[0], 6), *whole]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run of random architectures")
    parser.add_argument("--space", required=True, help="its run file, from the top folder")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    given.to.write_text(as_json(given.run, given.space))


if __name__ == "__main__":
    main()
