"""Building graphs node by node."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import Operator, Shape
from search_spaces.quantization.insertion import add_quantizers


class GraphBuilder:
    """Adds nodes one by one; blocks write their layers with it.

    >>> from search_spaces.graphs.operators import Conv2d
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
        """Returns the finished graph, with the quantizers that its low-bit layers need.

        Raises:
            ValueError: If a map is computed and then read by nobody.
        """
        graph = Graph(self.input.shape, self.nodes)
        if not graph.nodes:
            raise ValueError("a graph needs at least one node")
        for node in graph.nodes[:-1]:
            if not graph.consumers[node.name]:
                raise ValueError(f"{node.name}: nobody reads this node's output")
        return add_quantizers(graph)


class _Input:
    """Stands where the input's operator would be, so that the input can be used as a node."""

    def output_shape(self, *inputs: Shape) -> Shape:
        raise AssertionError("the input is not computed")

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        return {}
