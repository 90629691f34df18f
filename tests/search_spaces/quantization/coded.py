"""Networks of every precision for tests: a space, and blocks placed between a stem and a head."""

from dataclasses import replace

from search_spaces.blocks import Block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import Conv2d, Linear, Quantize
from search_spaces.graphs.precision import PRECISIONS
from tests.search_spaces.space.test_staged import MIXED

EVERY_PRECISION = tuple(PRECISIONS)
# Every block at every precision; in the head no linear layer can have the map K.
CODED = replace(
    MIXED,
    name="coded",
    stem=replace(MIXED.stem, precisions=EVERY_PRECISION),
    stages=tuple(replace(stage, precisions=EVERY_PRECISION) for stage in MIXED.stages),
    head=replace(MIXED.head, precisions=EVERY_PRECISION[:-1]),
)


def chain(
    *blocks: Block, precision: str, width: int = 32, stride: int = 1, in_channels: int = 32
) -> Graph:
    """Blocks ``b0``, ``b1``, ... of one width and precision after a float32 stem of 8x8 pixels."""
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(in_channels), net.input)
    for index, block in enumerate(blocks):
        with net.scope(f"b{index}"):
            layer = Layer(width, stride if index == 0 else 1, precision=PRECISIONS[precision])
            x = block.add_to(net, x, layer)
    net.add("classifier", Linear(10), x)
    return net.graph()


def quantizers(graph: Graph) -> dict[str, Quantize]:
    """The quantizers of a graph by name."""
    return {n.name: n.operator for n in graph.nodes if isinstance(n.operator, Quantize)}


def low_bit_layers(graph: Graph) -> list[Node]:
    return [
        node
        for node in graph.nodes
        if isinstance(node.operator, Conv2d | Linear)
        and node.operator.precision.activations != "real"
    ]
