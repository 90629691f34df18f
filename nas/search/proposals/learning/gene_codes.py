"""Gene codes: architectures as rows of whole numbers, so that thousands are bred at once.

A column is a gene, a number the place of its value, -1 stands for a gene that is not there. Rows
bred here are wishes: what a changed gene newly asks for the space itself fills in
(`search_spaces.space.space.complete`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from search_spaces.building.choice import Value

Codes = NDArray[np.int64]
ABSENT = -1
CROSSED = 0.3  # share of children with two parents
TWO_CHANGED = 0.2  # share of children with two genes changed, not one


@dataclass(frozen=True, slots=True)
class GeneCodes:
    """The genes that trials have had, and the values that each may take.

    Attributes:
        values: By gene, in the order in which they were first seen.
        offsets: First one-hot column of each gene.
    """

    values: Mapping[str, tuple[Value, ...]]
    offsets: Codes

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> "GeneCodes":
        values: dict[str, dict[Value, None]] = {}
        last: dict[str, tuple[Value, ...]] = {}
        for trial in trials:
            for name, distribution in trial.distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    choices: tuple[Value, ...] = distribution.choices  # type: ignore[assignment]
                    if last.get(name) != choices:  # most trials were offered the same
                        values.setdefault(name, {}).update(dict.fromkeys(choices))
                        last[name] = choices
        sizes = [len(each) for each in values.values()]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls({name: tuple(each) for name, each in values.items()}, offsets)

    @property
    def sizes(self) -> Codes:
        return np.diff(self.offsets)

    @property
    def kinds(self) -> tuple[tuple[int, ...], ...]:
        """Genes that offer the same values, two or more, by where they stand."""
        found: dict[frozenset[Value], list[int]] = {}
        for at, values in enumerate(self.values.values()):
            found.setdefault(frozenset(values), []).append(at)
        return tuple(tuple(kind) for kind in found.values() if len(kind) > 1)

    @property
    def columns(self) -> Codes:
        """Which scale each column of `features` has: that of a gene, or of a kind of genes.

        Genes have even ones, the kind that begins with a gene the odd one after it, so that none
        changes when genes are added.
        """
        genes = np.repeat(2 * np.arange(len(self.values)), self.sizes)
        kinds = [2 * kind[0] + 1 for kind in self.kinds for _ in range(self.sizes[kind[0]])]
        return np.concatenate([genes, kinds]).astype(np.int64)

    def features(self, rows: Codes) -> NDArray[np.float64]:
        """Returns what is learned from: one-hot genes, and how often kinds have each value.

        What a value does to one gene it often does to others that offer the same, as in the layers
        of a stage; the counts are in units in which a kind weighs as much as one gene.
        """
        found = np.zeros((len(rows), len(self.columns)))
        self.mark(found, rows)
        values, start = list(self.values.values()), int(self.offsets[-1])
        for kind in self.kinds:
            first = {value: place for place, value in enumerate(values[kind[0]])}
            # Each may have been offered its values in another order.
            order = np.array([[first[value] for value in values[gene]] for gene in kind])
            codes = rows[:, list(kind)]
            places = np.where(codes == ABSENT, ABSENT, order[np.arange(len(kind)), codes])
            for place in range(len(first)):
                count = (places == place).sum(axis=1)
                found[:, start + place] = count / np.sqrt(len(kind))
            start += len(first)
        return found

    def encode(self, genes: Sequence[Mapping[str, Value]]) -> Codes:
        """Returns a row for each; values that no trial was offered count as absent."""
        rows = np.full((len(genes), len(self.values)), ABSENT, dtype=np.int64)
        places = {
            name: (column, {value: place for place, value in enumerate(values)})
            for column, (name, values) in enumerate(self.values.items())
        }
        for row, each in zip(rows, genes, strict=True):
            known = [(places[name], value) for name, value in each.items() if name in places]
            row[[column for (column, _), _ in known]] = [
                codes.get(value, ABSENT) for (_, codes), value in known
            ]
        return rows

    def decode(self, row: Codes) -> dict[str, Value]:
        pairs = zip(self.values.items(), row, strict=True)
        return {name: values[code] for (name, values), code in pairs if code != ABSENT}

    def one_hot(self, rows: Codes) -> NDArray[np.float64]:
        """Returns a column for each value of each gene, 1 where a row has it."""
        found = np.zeros((len(rows), self.offsets[-1]))
        self.mark(found, rows)
        return found

    def mark(self, found: NDArray[np.float64], rows: Codes) -> None:
        """Writes one-hot genes into the first columns, which are zero."""
        at, column = np.nonzero(rows != ABSENT)
        found[at, self.offsets[column] + rows[at, column]] = 1

    def bred(self, parents: Codes, count: int, rng: np.random.Generator) -> Codes:
        """Returns so many children of random parents, each once, none of them a parent."""
        children = parents[rng.integers(len(parents), size=count)]
        others = parents[rng.integers(len(parents), size=count)]
        crossed = (rng.random(count) < CROSSED)[:, None] & (rng.random(children.shape) < 0.5)
        children = np.where(crossed & (others != ABSENT), others, children)
        for share in (1.0, TWO_CHANGED):
            self.change_one(children, rng.random(count) < share, rng)
        return children

    def change_one(self, rows: Codes, which: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Gives one gene of the rows another value, in place."""
        open_to_change = (rows != ABSENT) & (self.sizes > 1)
        keys = np.where(open_to_change, rng.random(rows.shape), -1.0)
        column = keys.argmax(axis=1)
        at = np.flatnonzero(which & open_to_change.any(axis=1))
        column = column[at]
        step = 1 + (rng.random(len(at)) * (self.sizes[column] - 1)).astype(np.int64)
        rows[at, column] = (rows[at, column] + step) % self.sizes[column]
