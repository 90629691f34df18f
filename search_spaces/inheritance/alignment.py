"""Alignment: which channel of a parent each channel of a child's maps is.

Two networks of one space name their nodes alike. Following the child from its input on tells, for
each of its maps, which maps of the parent it stands for, channel by channel:

* layers that mix channels and that both have make the parent's first channels, then new ones (the
  parent is ordered before, `ordering`); one
  whose map is added to another, or gates it, makes the channels in the other's order;
* depthwise convolutions, pools, activations, norms and quantizers carry what they read;
* a sum stands for its operands too: where the parent lacks a residual layer that the child has, or
  has one that the child lacks, the layer behind it reads the same channels all the same;
* concatenation, split and shuffle put channels where the child has them.

Where a layer reads something else than in the parent (the block before it is of another kind), it
takes channels as they are numbered.

Shape letters: C channels.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs import operators as ops
from search_spaces.graphs.graph import INPUT, Graph, Node

NEW = -1
Channels = NDArray[np.int64]  # (C,) of the parent's map, NEW where it has none
StandsFor = Mapping[str, Channels]  # by the parent's map

CARRY = (
    *(ops.Activate, ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool, ops.Dropout, ops.Quantize),
    *(ops.BatchNorm, ops.LayerNorm, ops.LocalResponseNorm, ops.Scale),
)


@dataclass(frozen=True, slots=True)
class Read:
    """What a node reads.

    Attributes:
        channels: Of the map that the parent's node reads.
        is_same: Whether they are known to be those, and not only numbered so.
    """

    channels: Channels
    is_same: bool


@dataclass(slots=True)
class Alignment:
    """A child held against its parent.

    Attributes:
        same: Names of the nodes that both have, of one kind.
        maps: What each of the child's maps stands for, as far as it was followed.
    """

    child: Graph
    parent: Graph
    same: Collection[str]
    maps: dict[str, StandsFor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        channels, others = self.child.input_shape[0], self.parent.input_shape[0]
        self.maps[INPUT] = {INPUT: as_numbered(channels, others)}
        for node in self.child.nodes:
            self.maps[node.name] = self.follow(node)

    def follow(self, node: Node) -> StandsFor:
        """Returns what the map of ``node`` stands for."""
        operator = node.operator
        if isinstance(operator, CARRY):
            return self.maps[node.inputs[0]]
        if isinstance(operator, ops.Add):
            operands = {**self.maps[node.inputs[1]], **self.maps[node.inputs[0]]}
            own = {node.name: self.summed(node)} if node.name in self.same else {}
            return {**operands, **own}
        if node.name not in self.same or type(operator) not in MAKES:
            return {}
        return {node.name: MAKES[type(operator)](self, node)}

    def makes(self, name: str) -> Channels:
        """Returns which of the channels that the parent's node makes a node makes (C,)."""
        return self.maps[name][name]

    def read(self, node: Node, place: int = 0) -> Read:
        """Returns what a node that both have reads at a place among its inputs."""
        name, theirs = node.inputs[place], self.parent.node(node.name).inputs[place]
        known = self.maps[name]
        for each in self.stands_for(theirs):
            if each in known:
                return Read(known[each], is_same=True)
        counts = self.child.shapes[name][0], self.parent.shapes[theirs][0]
        return Read(as_numbered(*counts), is_same=False)

    def stands_for(self, name: str) -> tuple[str, ...]:
        """Returns the maps of the parent that have the channels of ``name``, itself first."""
        if name == INPUT:
            return (INPUT,)
        node = self.parent.node(name)
        if isinstance(node.operator, CARRY):
            return self.stands_for(node.inputs[0])
        if isinstance(node.operator, ops.Add):
            operands = (each for at in node.inputs for each in self.stands_for(at))
            return tuple(dict.fromkeys((name, *operands)))
        return (name,)

    def summed(self, node: Node) -> Channels:
        """Returns the channels of a sum: those of an operand that is known, the first if it is."""
        reads = [self.read(node, place) for place in range(2)]
        return next((read for read in reads if read.is_same), reads[0]).channels

    def tied(self, node: Node) -> Channels | None:
        """Returns the channels that a layer must make to fit what its map is combined with.

        None where that is not known yet: then the other follows it.
        """
        for reader in self.child.consumers[node.name]:
            if isinstance(reader.operator, ops.Quantize):
                found = self.tied(reader)
                if found is not None:
                    return found
            if not isinstance(reader.operator, ops.Add | ops.Scale):
                continue
            if reader.name not in self.same:
                continue
            place = reader.inputs.index(node.name)
            other = reader.inputs[1 - place]
            if other in self.maps and (read := self.read(reader, 1 - place)).is_same:
                return read.channels
        return None


def as_numbered(count: int, parents: int) -> Channels:
    """Returns the parent's channels in order, then new ones.

    >>> as_numbered(4, 3).tolist(), as_numbered(2, 3).tolist()
    ([0, 1, 2, -1], [0, 1])
    """
    channels = np.arange(count)
    return np.where(channels < parents, channels, NEW)


def convolved(at: Alignment, node: Node) -> Channels:
    operator, theirs = node.operator, at.parent.node(node.name)
    assert isinstance(operator, ops.Conv2d)
    if operator.is_depthwise(at.child.input_shapes(node)[0][0]):
        return at.read(node).channels
    if operator.groups == 1:
        return mixed(at, node)
    ours, each = (shape[0] // operator.groups for shape in (node.shape, theirs.shape))
    groups = each * np.arange(operator.groups)[:, None]
    inside = as_numbered(ours, each)
    return np.where(inside == NEW, NEW, groups + inside).ravel()


def mixed(at: Alignment, node: Node) -> Channels:
    tied = at.tied(node)
    if tied is not None:
        return tied
    return as_numbered(node.shape[0], at.parent.node(node.name).shape[0])


def concatenated(at: Alignment, node: Node) -> Channels:
    theirs = at.parent.node(node.name)
    parts, before = [], 0
    for place, name in enumerate(theirs.inputs):
        channels = at.read(node, place).channels
        parts.append(np.where(channels == NEW, NEW, channels + before))
        before += at.parent.shapes[name][0]
    return np.concatenate(parts)


def split(at: Alignment, node: Node) -> Channels:
    ours, theirs = node.operator, at.parent.node(node.name).operator
    assert isinstance(ours, ops.ChannelSplit)
    assert isinstance(theirs, ops.ChannelSplit)
    shown = at.read(node).channels[ours.start : ours.stop]
    inside = (theirs.start <= shown) & (shown < theirs.stop)
    return np.where(inside, shown - theirs.start, NEW)


def shuffled(at: Alignment, node: Node) -> Channels:
    ours, theirs = node.operator, at.parent.node(node.name)
    assert isinstance(ours, ops.ChannelShuffle)
    assert isinstance(theirs.operator, ops.ChannelShuffle)
    channels = at.read(node).channels[moved(node.shape[0], ours.groups)]
    now_at = np.argsort(moved(theirs.shape[0], theirs.operator.groups))
    return np.where(channels == NEW, NEW, now_at[channels])


def moved(count: int, groups: int) -> Channels:
    """Returns the channel that a shuffle puts into each place.

    >>> moved(6, 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return np.arange(count).reshape(groups, -1).T.ravel()


MAKES: dict[type[ops.Operator], Callable[[Alignment, Node], Channels]] = {
    ops.Conv2d: convolved,
    ops.Linear: mixed,
    ops.Concat: concatenated,
    ops.ChannelSplit: split,
    ops.ChannelShuffle: shuffled,
}
