"""Formats: in which number formats each map of a graph is kept in memory.

A kernel writes its result once for each format that somebody reads: as real numbers, or as the
codes of a quantizer. Concatenation, split, shuffle and max pooling only move numbers, so a
quantizer behind them moves in front of them, and they run on codes.
"""

from collections.abc import Mapping
from functools import cached_property
from math import prod

from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import INPUT, Graph, Node

REAL = ""  # the format of float32 numbers; the others are called like their quantizers
REAL_BITS = 32
WORD = 32  # channels of a word, in which codes of 1 and 2 bits are packed
MOVES = (ops.Concat, ops.ChannelShuffle, ops.ChannelSplit, ops.MaxPool, ops.Dropout)


def stored_bits(bits: int) -> int:
    """Bits that one code takes in memory: 4-bit maps are kept in bytes."""
    return 8 if bits == 4 else bits


class Formats:
    """The formats of every map of one graph, found from the last node to the first."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def native(self) -> Mapping[str, str | None]:
        """For maps that are codes to begin with, the quantizer of these codes."""
        native: dict[str, str | None] = {INPUT: None}
        for node in self.graph.nodes:
            sources = {native[name] for name in node.inputs}
            same = sources.pop() if len(sources) == 1 else None
            if isinstance(node.operator, ops.Quantize):
                native[node.name] = node.name
            elif only_moves(node.operator) and same and self.carries(node, same):
                native[node.name] = same
            else:
                native[node.name] = None
        return native

    @cached_property
    def kept(self) -> Mapping[str, tuple[str, ...]]:
        """The formats in which each map is kept; a map of codes has only its own."""
        wanted: dict[str, dict[str, None]] = {name: {} for name in self.graph.shapes}
        wanted[self.graph.output.name][REAL] = None
        for node in reversed(self.graph.nodes):
            for name in node.inputs:
                for wish in self.wishes(node, wanted[node.name]):
                    wanted[name][wish] = None
        return {
            name: (native,) if (native := self.native[name]) else tuple(sorted(formats))
            for name, formats in wanted.items()
        }

    def wishes(self, node: Node, kept: Mapping[str, None]) -> list[str]:
        """The formats in which ``node`` reads maps that are not codes already."""
        if isinstance(node.operator, ops.Quantize):
            return [node.name]
        if not only_moves(node.operator) or self.native[node.name]:
            return [REAL]
        return [wish if self.carries(node, wish) else REAL for wish in kept]

    def carries(self, node: Node, wish: str) -> bool:
        """Whether a node that only moves numbers can do so in this format."""
        does = node.operator
        if wish == REAL or self.quantizer(wish).bits >= 4 or isinstance(does, ops.Dropout):
            return True
        # Packed channels can be put side by side where none shares a word with another's.
        return isinstance(node.operator, ops.Concat) and all(
            shape[0] % WORD == 0 for shape in self.graph.input_shapes(node)
        )

    def quantizer(self, name: str) -> ops.Quantize:
        operator = self.graph.node(name).operator
        assert isinstance(operator, ops.Quantize)
        return operator

    def bits(self, name: str) -> int:
        """Bits of one number in the format called ``name``, as it is stored."""
        return REAL_BITS if name == REAL else stored_bits(self.quantizer(name).bits)

    def map_bytes(self, name: str) -> int:
        """Bytes of a map in all formats in which it is kept."""
        bits = sum(self.bits(kept) for kept in self.kept[name])
        return -(-prod(self.graph.shapes[name]) * bits // 8)

    def read_bytes(self, node: Node, name: str) -> int:
        """Bytes of the map ``name`` that ``node`` reads."""
        native = self.native[name]
        if native is not None:
            bits = self.bits(native)
        elif only_moves(node.operator):
            wishes = self.wishes(node, dict.fromkeys(self.kept[node.name]))
            bits = sum(self.bits(wish) for wish in wishes)
        else:
            bits = REAL_BITS
        return -(-prod(self.graph.shapes[name]) * bits // 8)


def only_moves(operator: ops.Operator) -> bool:
    """Whether an operator gives numbers of its inputs, unchanged."""
    return isinstance(operator, MOVES) and getattr(operator, "activation", "none") == "none"
