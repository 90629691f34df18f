"""Extremes: the largest and the smallest values of a space's choices, found by asking it.

What makes a network larger is not told by a number: a prune ratio does the opposite. So each
choice is decided both ways where all else stays, in networks of one block throughout, and what
gives more multiply-accumulates (then more bytes) is larger.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from search_spaces.building.choice import Choice, Value
from search_spaces.graphs.cost import count_macs, weight_bytes
from search_spaces.graphs.graph import Graph
from search_spaces.space.sharing import BLOCK
from search_spaces.space.space import Decisions, SearchSpace, record

PASSES = 2  # over all choices: the second one is in networks that the first made large


@dataclass(frozen=True, slots=True)
class Extremes:
    """Values by the choice's name; blocks are left out, which nobody orders.

    Attributes:
        blocks: Every block that the space may pick somewhere, in order.
    """

    largest: Mapping[str, Value]
    smallest: Mapping[str, Value]
    blocks: tuple[str, ...]


def is_block(choice: Choice) -> bool:
    """Whether a choice says which block stands in a place."""
    return choice.name == BLOCK or choice.name.endswith(f".{BLOCK}")


def extremes_of(space: SearchSpace) -> Extremes:
    """Returns which values of each choice make the largest and the smallest networks.

    Choices of no size, and those that no network of one block throughout is asked, are missing.
    """
    blocks = blocks_in(space)
    largest: dict[str, Value] = {}
    smallest: dict[str, Value] = {}
    for _ in range(PASSES):
        for block in blocks or ("",):
            for name, (least, most) in ordered_choices(space, block, largest):
                smallest[name], largest[name] = least, most
    return Extremes(largest, smallest, blocks)


def blocks_in(space: SearchSpace) -> tuple[str, ...]:
    """Returns the blocks that the space may pick: those of the places of its deepest network."""
    found = decided(space, "", {})
    offered = [] if found is None else [c.values for c in found.choices if is_block(c)]
    return tuple(dict.fromkeys(str(value) for values in offered for value in values))


def ordered_choices(
    space: SearchSpace, block: str, known: Mapping[str, Value]
) -> Iterator[tuple[str, tuple[Value, Value]]]:
    """Yields the smallest and the largest value of each choice of the network of one block.

    Where all values make networks of one size the choice is left out.
    """
    found = decided(space, block, known)
    for choice in () if found is None else found.choices:
        if is_block(choice):
            continue
        sizes = {
            value: size_of(other.architecture.graph)
            for value in choice.values
            if (other := decided(space, block, {**known, choice.name: value})) is not None
        }
        if len(set(sizes.values())) > 1:
            in_order = sorted(sizes, key=sizes.__getitem__)
            yield choice.name, (in_order[0], in_order[-1])


def size_of(graph: Graph) -> tuple[int, int]:
    return count_macs(graph), sum(weight_bytes(graph, node) for node in graph.nodes)


def decided(space: SearchSpace, block: str, known: Mapping[str, Value]) -> Decisions | None:
    """Returns the network of one block where it is offered; None where there is no such network.

    What is not known takes its last value, which is mostly the largest.
    """

    def pick(choice: Choice) -> Value:
        if is_block(choice) and block in choice.values:
            return block
        value = known.get(choice.name)
        if value in choice.values:
            return value
        return choice.values[0] if is_block(choice) else choice.values[-1]

    try:
        return record(space, pick)
    except ValueError:
        return None
