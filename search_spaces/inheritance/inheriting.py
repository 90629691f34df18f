"""Inheriting: the arrays of a child, from those of a trained parent where their layers agree.

Of the arrays of layers that agree (`agreement`) a child takes what both have:

* channels as `alignment` says; where a layer reads all that the parent's reads and more, the
  weights of what is new are zero, so that a wider network computes what its parent computed (as in
  Chen et al., "Net2Net", ICLR 2016, https://arxiv.org/abs/1511.05641, which copies channels and
  shares their weights out instead);
* of more channels than it has those whose norms scale them most (`ordering`);
* kernels around one centre, with zeros where the child's is larger;
* norms and biases with their channels, and steps of equal precision.

A residual layer that the parent lacks begins as the identity: its last norm gives zero
(Goyal et al., "Accurate, Large Minibatch SGD", 2017, https://arxiv.org/abs/1706.02677, section
5.1). All else is as it is first drawn. Signs know no zero: layers of 1-bit weights keep their
first weights where others have zeros.

Shape letters: O output channels, I input channels of a group, kh and kw kernel size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import Node
from search_spaces.graphs.model import Array, Model
from search_spaces.inheritance.agreement import agreeing, identities
from search_spaces.inheritance.alignment import NEW, Alignment, Channels
from search_spaces.inheritance.ordering import ordered
from search_spaces.space.space import Architecture

Arrays = Mapping[str, Array]
Layer = ops.Conv2d | ops.Linear


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a child begins with.

    Attributes:
        arrays: All of its graph's.
        unset: The steps among them that are not the parent's, and must be told anew.
    """

    arrays: Arrays
    unset: frozenset[str]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a layer's weights are in its parent's.

    Attributes:
        rows, columns: Output channel and input channel of the group ``(O, I)``.
        known: Whether the parent has it ``(O, I)``.
        zero: Whether it is new to an output channel that has all of the parent's ``(O, I)``.
    """

    rows: Channels
    columns: Channels
    known: NDArray[np.bool_]
    zero: NDArray[np.bool_]


class Kinship:
    """A child held against a parent; the weights come in later."""

    def __init__(self, child: Architecture, parent: Architecture) -> None:
        self.child = child.graph
        self.parent = parent.graph
        self.same = agreeing(child, parent)
        self.alignment = Alignment(child.graph, parent.graph, self.same)

    @cached_property
    def share(self) -> float:
        """How much of the child's weights is the parent's, in 0..1."""
        taken = total = 0
        for node in self.child.nodes:
            if not isinstance(node.operator, Layer):
                continue
            size = weight_shape(self.child.input_shapes(node), node.operator)
            total += prod(size)
            if node.name in self.same:
                ours, _ = windows(size, self.their_shape(node))
                area = prod(part.stop - part.start for part in ours[1:])
                taken += int(self.places(node).known.sum()) * area
        return taken / total if total else 0.0

    def arrays(self, first: Arrays, parents: Arrays) -> Inherited:
        """Returns the child's arrays.

        Args:
            first: As the child would begin from nothing.
            parents: The trained parent's.
        """
        arrays, unset = dict(first), set[str]()
        parents = ordered(Model(self.parent, parents), self.child, self.same).arrays
        zero = identities(self.child, self.same)
        for node in self.child.nodes:
            for name in node.operator.array_shapes(*self.child.input_shapes(node)):
                path = f"{node.name}.{name}"
                if node.name in self.same and self.has(node, name):
                    arrays[path] = self.taken(node, name, first[path], parents[path])
                elif name.endswith("step") and not self.is_all_first(node, name):
                    unset.add(path)
                elif name in ("norm.weight", "norm.bias") and node.name in zero:
                    arrays[path] = np.zeros_like(first[path])
        return Inherited(arrays, frozenset(unset))

    def has(self, node: Node, name: str) -> bool:
        """Whether the parent's node of this name has such an array, of the same meaning."""
        other = self.parent.node(node.name)
        if name not in other.operator.array_shapes(*self.parent.input_shapes(other)):
            return False
        if name != "weight.step":
            return True
        ours, theirs = node.operator, other.operator
        assert isinstance(ours, Layer)
        assert isinstance(theirs, Layer)
        return ours.precision.weight_bits == theirs.precision.weight_bits

    def is_all_first(self, node: Node, name: str) -> bool:
        """Whether a step is of weights that are all first ones, and so is told already."""
        return name == "weight.step" and node.name not in self.same

    def taken(self, node: Node, name: str, first: Array, parents: Array) -> Array:
        if name == "weight" and isinstance(node.operator, Layer):
            return self.weight(node, first, parents)
        if not first.shape:
            return parents
        channels = self.channels(node)
        taken = first.copy()
        taken[channels != NEW] = parents[channels[channels != NEW]]
        return taken

    def weight(self, node: Node, first: Array, parents: Array) -> Array:
        """Returns a weight (O, I, kh, kw) or (O, I), the child's from the parent's."""
        assert isinstance(node.operator, Layer)
        places, has_zero = self.places(node), node.operator.precision.weights != "sign"
        taken = first.copy()
        if has_zero:
            taken[places.zero] = 0
        ours, theirs = windows(first.shape, parents.shape)
        known = taken[places.known]
        if has_zero:
            known[:] = 0  # around a smaller kernel
        from_parent = parents[places.rows[places.known], places.columns[places.known]]
        known[ours] = from_parent[theirs]
        taken[places.known] = known
        return taken

    def channels(self, node: Node) -> Channels:
        """Returns the parent's channel of each of a node's own arrays (C,)."""
        if isinstance(node.operator, Layer):
            return self.alignment.makes(node.name)
        return self.alignment.read(node).channels

    def their_shape(self, node: Node) -> tuple[int, ...]:
        other = self.parent.node(node.name)
        assert isinstance(other.operator, Layer)
        return weight_shape(self.parent.input_shapes(other), other.operator)

    def places(self, node: Node) -> Places:
        """Returns where a layer's weights are in those of the parent's layer."""
        operator, read = node.operator, self.alignment.read(node)
        assert isinstance(operator, Layer)
        in_channels, height, width = self.child.input_shapes(node)[0]
        makes, reads = self.channels(node), read.channels
        size = weight_shape(self.child.input_shapes(node), operator)
        outs, ins = size[:2]
        their_outs, their_ins = self.their_shape(node)[:2]
        rows = np.broadcast_to(makes[:, None], (outs, ins))
        if isinstance(operator, ops.Linear):
            pixels = np.arange(height * width)
            spread = reads[:, None] * len(pixels) + pixels
            columns = np.where(reads[:, None] == NEW, NEW, spread).reshape(1, -1)
            columns = np.broadcast_to(columns, (outs, ins))
        elif operator.is_depthwise(in_channels):
            columns = np.zeros((outs, 1), np.int64)
        else:
            each = outs // operator.groups
            columns = np.repeat(reads.reshape(operator.groups, ins), each, axis=0)
            begins = rows // (their_outs // operator.groups) * their_ins
            inside = (begins <= columns) & (columns < begins + their_ins)
            columns = np.where(inside, columns - begins, NEW)
        known = (rows != NEW) & (columns != NEW)
        whole = read.is_same & (known.sum(1, keepdims=True) == their_ins)
        return Places(rows, columns, known, whole & ~known)


def weight_shape(reads: tuple[ops.Shape, ...], operator: Layer) -> tuple[int, ...]:
    """Returns the shape of a layer's weight."""
    return operator.array_shapes(*reads)["weight"]


def windows(
    ours: tuple[int, ...], theirs: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Returns where two kernels around one centre overlap, in rows (n, kh, kw) of each.

    >>> windows((8, 4, 5, 3), (8, 4, 3, 3))[0]
    (slice(None, None, None), slice(1, 4, None), slice(0, 3, None))
    """
    pairs = [
        (middle(one, min(one, other)), middle(other, min(one, other)))
        for one, other in zip(ours[2:], theirs[2:], strict=True)
    ]
    row = slice(None)
    return (row, *(one for one, _ in pairs)), (row, *(other for _, other in pairs))


def middle(size: int, part: int) -> slice:
    begin = (size - part) // 2
    return slice(begin, begin + part)
