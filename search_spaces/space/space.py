"""Search spaces: a space turns decisions into a graph; every search move is a way to decide.

A space writes one method, `network`, which asks `pick` for each decision when it needs it. Later
decisions may depend on earlier ones (a deeper stage asks for more layers), so no move needs to
know which decisions are active.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from search_spaces.building.choice import Choice, Pick, Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph


class SearchSpace(Protocol):
    """A named set of networks."""

    @property
    def name(self) -> str: ...

    def network(self, pick: Pick) -> Graph:
        """Returns the network that the picked decisions describe."""
        ...


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network, and the decisions that led to it.

    Attributes:
        space: Name of the space, or of the published network.
        genes: Every decision taken, by choice name, in the order taken; empty for a network that
            was not decided in a space.
        graph: What the decisions mean.
    """

    space: str
    genes: tuple[tuple[str, Value], ...]
    graph: Graph = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Decisions:
    """An architecture with the choices it was asked, in order."""

    architecture: Architecture
    choices: tuple[Choice, ...]


def decide(space: SearchSpace, pick: Pick) -> Architecture:
    """Returns the architecture that ``pick`` decides.

    Raises:
        UserError: If ``pick`` answers outside a choice's values.
    """
    return record(space, pick).architecture


def record(space: SearchSpace, pick: Pick) -> Decisions:
    """Returns the architecture that ``pick`` decides, and what it was asked."""
    genes: dict[str, Value] = {}
    choices: list[Choice] = []

    def recorded(choice: Choice) -> Value:
        value = pick(choice)
        if value not in choice.values:
            raise UserError(f"{choice.name} = {value!r} is not one of {choice.values}")
        if choice.name in genes:
            raise AssertionError(f"the space asked for {choice.name!r} twice")
        genes[choice.name] = value
        choices.append(choice)
        return value

    graph = space.network(recorded)
    return Decisions(Architecture(space.name, tuple(genes.items()), graph), tuple(choices))


def sample(space: SearchSpace, rng: Random) -> Architecture:
    """Returns a random architecture, uniform in each decision."""
    return decide(space, lambda choice: rng.choice(choice.values))


def restore(space: SearchSpace, genes: Mapping[str, Value]) -> Architecture:
    """Returns the architecture with the given genes, e.g. read back from a file.

    Raises:
        UserError: If a gene is missing, unknown to the space, or outside its values.
    """

    def pick(choice: Choice) -> Value:
        if choice.name not in genes:
            raise UserError(f"gene {choice.name!r} of space {space.name!r} is missing")
        return genes[choice.name]

    architecture = decide(space, pick)
    if unknown := sorted(genes.keys() - dict(architecture.genes).keys()):
        raise UserError(f"space {space.name!r} does not ask for gene {unknown[0]!r} here")
    return architecture


def complete(space: SearchSpace, wanted: Mapping[str, Value], rng: Random) -> Architecture:
    """Returns an architecture with the ``wanted`` genes where they fit, the others random."""

    def pick(choice: Choice) -> Value:
        if choice.name in wanted and wanted[choice.name] in choice.values:
            return wanted[choice.name]
        return rng.choice(choice.values)

    return decide(space, pick)


def mutate(
    space: SearchSpace, parent: Mapping[str, Value], rng: Random, count: int = 1
) -> Architecture:
    """Returns a child of ``parent`` that differs in ``count`` decisions.

    The changed decisions are drawn uniformly among those the parent took; what they newly ask for
    is drawn at random, what they no longer ask for is dropped.
    """
    asked = record(space, lambda choice: parent[choice.name]).choices
    changeable = [choice for choice in asked if len(choice.values) > 1]
    changed = {
        choice.name: rng.choice([v for v in choice.values if v != parent[choice.name]])
        for choice in rng.sample(changeable, min(count, len(changeable)))
    }
    return complete(space, dict(parent) | changed, rng)


def crossover(
    space: SearchSpace, mother: Mapping[str, Value], father: Mapping[str, Value], rng: Random
) -> Architecture:
    """Returns a child that takes each decision from a parent that made it, or else draws it."""

    def pick(choice: Choice) -> Value:
        inherited = [
            genes[choice.name]
            for genes in (mother, father)
            if choice.name in genes and genes[choice.name] in choice.values
        ]
        return rng.choice(inherited or choice.values)

    return decide(space, pick)


def describe_genes(genes: Iterable[tuple[str, Value]]) -> str:
    """Returns genes as one line a stage, for people.

    >>> describe_genes((("stem.width", 8), ("stage0.depth", 1), ("stage0.layer0.block", "fire")))
    'stem: width=8\\nstage0: depth=1 layer0.block=fire'
    """
    lines: dict[str, list[str]] = {}
    for name, value in genes:
        place, _, rest = name.partition(".")
        lines.setdefault(place, []).append(f"{rest}={value}" if rest else str(value))
    return "\n".join(f"{place}: {' '.join(parts)}" for place, parts in lines.items())
