"""Graphs: a network as data, which cost, training, kernels and export all read.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from search_spaces.operators import Operator, Shape

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


class GraphBuilder:
    """Adds nodes one by one; blocks write their layers with it.

    >>> from search_spaces.operators import Conv2d
    >>> net = GraphBuilder((3, 32, 32))
    >>> x = net.add("stem", Conv2d(16, (3, 3), stride=(2, 2)), net.input)
    >>> x.shape
    (16, 16, 16)
    """

    def __init__(self, input_shape: Shape) -> None:
        if min(input_shape) < 1:
            raise ValueError(f"an input shape needs positive C, H, W, got {input_shape}")
        self.input = Node(INPUT, _Input(), (), input_shape)
        self._nodes: dict[str, Node] = {}
        self._scope: tuple[str, ...] = ()

    def add(self, name: str, operator: Operator, *inputs: Node) -> Node:
        """Adds one node and returns it.

        Raises:
            ValueError: If the operator cannot take these inputs, or the name is taken; the
                message names the node.
        """
        path = ".".join((*self._scope, name))
        if path in self._nodes or path == INPUT:
            raise ValueError(f"{path}: a node of this name is already there")
        try:
            shape = operator.output_shape(*(node.shape for node in inputs))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        node = Node(path, operator, tuple(node.name for node in inputs), shape)
        self._nodes[path] = node
        return node

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of the nodes added inside."""
        outer = self._scope
        self._scope = (*outer, name)
        try:
            yield
        finally:
            self._scope = outer

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes added so far."""
        return tuple(self._nodes.values())

    def graph(self) -> Graph:
        """Returns the finished graph.

        Raises:
            ValueError: If a map is computed and then read by nobody.
        """
        graph = Graph(self.input.shape, self.nodes)
        if not graph.nodes:
            raise ValueError("a graph needs at least one node")
        for node in graph.nodes[:-1]:
            if not graph.consumers[node.name]:
                raise ValueError(f"{node.name}: nobody reads this node's output")
        return graph


class _Input:
    """Stands where the input's operator would be, so that the input can be used as a node."""

    def output_shape(self, *inputs: Shape) -> Shape:
        raise AssertionError("the input is not computed")

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        return {}
