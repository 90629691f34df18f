"""Graphs: a network as data, which cost, training, kernels and export all read.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from search_spaces.graphs.operators import Operator, Shape

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator in its place; its name is also the prefix of its arrays' names."""

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run; the last one is the output."""

    input_shape: Shape
    nodes: tuple[Node, ...]

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every map by node name, the input included."""
        return {INPUT: self.input_shape} | {node.name: node.shape for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each map, by the map's name; () where nobody does."""
        readers: dict[str, list[Node]] = {name: [] for name in self.shapes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    def node(self, name: str) -> Node:
        """Returns the node called ``name``.

        Raises:
            KeyError: If there is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"the graph has no node {name!r}") from None

    @cached_property
    def _by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Returns the shapes that ``node`` reads."""
        return tuple(self.shapes[name] for name in node.inputs)

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every array of the graph, by ``<node>.<array>``."""
        return {
            f"{node.name}.{name}": shape
            for node in self.nodes
            for name, shape in node.operator.array_shapes(*self.input_shapes(node)).items()
        }
