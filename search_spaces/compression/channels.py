"""Channels: which channels of a network can only be removed together.

Every layer that mixes channels makes new ones; whatever else a graph does only ties, moves or
shows them, so following them from the input to the output tells what hangs together:

* a sum ties the channels of its operands, a gate those of its map;
* concatenation puts channels side by side, a split shows some of them, a shuffle moves them;
* pools, activations, norms and quantizers carry each channel;
* a depthwise convolution carries it too, and so does every grouped one whose groups read or make
  one channel: whole groups go, unless what they read stays;
* other grouped convolutions lose as many channels in each group, of what they read and make. Sets
  that do not are joined with others until they do (`Ties.balance`), so that every group keeps the
  channels it has and no structure is left that the graph could not say;
* a shuffle of (groups, n) channels loses whole columns, so that it moves what is left as before;
* channels of the network's input and its outputs stay, and so do those over which something is
  computed that their number enters (a mean over channels).

Some structures leave little: where a channel stays in the half that a unit of ShuffleNet v2 passes
on, each shuffle ties it to twice as many of the next unit, so that the last of eight units keeps
what it makes. That is so for whatever leaves the others where they are.

What can go together is a *unit*; units with equal numbers of channels in the same maps are
a *group*, of which any may go. Groups and their units are in the order of the graph.

Differs from dependency graphs by tracing (Fang et al., "DepGraph: Towards Any Structural Pruning",
CVPR 2023, https://arxiv.org/abs/2301.12900): channels are followed one by one, so that splits,
concatenations and shuffles of any widths need no rule of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from search_spaces.compression.ties import STAYS, Atoms, Ties
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import INPUT, Graph, Node

PACKED_BITS = 4  # below it, grouped convolutions read words of 32 channels


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Units of channels, of which any may go.

    Attributes:
        name: The first layer that makes some of them, with a number from the second group on.
        maps: For each map by node, the channels that each unit has there.
        producers: The convolutions and linear layers among them.
        consumers: Those whose weights read them.
    """

    name: str
    maps: Mapping[str, tuple[tuple[int, ...], ...]]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many units there are."""
        return len(next(iter(self.maps.values())))

    def width(self, name: str) -> int:
        """Returns how many channels of a map each unit has."""
        return len(self.maps[name][0]) if name in self.maps else 0


def channel_groups(graph: Graph, *, in_place: bool = True) -> tuple[ChannelGroup, ...]:
    """Returns the groups of channels that can be removed from ``graph``.

    Args:
        in_place: Whether what is left must be where it was. Without it, shuffles are taken to
            move nothing: for networks that are trained anew, and can do with other channels.

    Raises:
        UnsupportedOperatorError: If nothing is known about what an operator does to channels.
    """
    maps = _Follower(graph, in_place).units()
    units: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, atoms in maps.items():
        for channel, unit in enumerate(atoms.tolist()):
            if unit != STAYS:
                units[unit][name].append(channel)
    alike: dict[tuple[tuple[str, int], ...], list[dict[str, list[int]]]] = defaultdict(list)
    for unit in units.values():
        alike[tuple((name, len(channels)) for name, channels in unit.items())].append(unit)
    groups = [group_of(graph, members) for members in alike.values()]
    return tuple(numbered(groups))


def group_of(graph: Graph, units: list[dict[str, list[int]]]) -> ChannelGroup:
    maps = {name: tuple(tuple(unit[name]) for unit in units) for name in units[0]}
    producers = tuple(name for name in maps if has_weights(graph.node(name)))
    readers = {
        reader.name: None
        for name in maps
        for reader in graph.consumers[name]
        if has_weights(reader)
    }
    return ChannelGroup(producers[0], maps, producers, tuple(readers))


def has_weights(node: Node) -> bool:
    return isinstance(node.operator, ops.Conv2d | ops.Linear)


def numbered(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Gives groups of one name numbers from the second on."""
    seen: dict[str, int] = defaultdict(int)
    named = []
    for group in groups:
        seen[group.name] += 1
        name = group.name if seen[group.name] == 1 else f"{group.name}:{seen[group.name]}"
        named.append(ChannelGroup(name, group.maps, group.producers, group.consumers))
    return named


class _Follower:
    """The channels of one graph being followed from the input on.

    Attributes:
        maps: For each map, the atom of each channel (C,).
        rows: Channels (G, n) of which every row must lose as many.
    """

    def __init__(self, graph: Graph, in_place: bool) -> None:
        self.graph = graph
        self.in_place = in_place
        self.ties = Ties()
        self.maps = {INPUT: np.full(graph.input_shape[0], STAYS)}
        self.rows: list[Atoms] = []

    def units(self) -> dict[str, Atoms]:
        """Returns for each map the unit of each channel (C,), by its first atom."""
        for node in self.graph.nodes:
            if type(node.operator) not in FOLLOW:
                raise UnsupportedOperatorError(
                    f"{node.name}: it is not known what {type(node.operator).__name__} does to "
                    f"channels; known: {', '.join(kind.__name__ for kind in FOLLOW)}"
                )
            inputs = (self.maps[name] for name in node.inputs)
            self.maps[node.name] = FOLLOW[type(node.operator)](self, node.operator, *inputs)
        self.ties.keep(self.maps[self.graph.output.name])
        for rows in self.rows:
            self.ties.balance(rows)
        return {name: self.ties.roots(atoms) for name, atoms in self.maps.items()}


def conv2d(at: _Follower, op: ops.Conv2d, x: Atoms, magnitude: Atoms | None = None) -> Atoms:
    reads = x.reshape(op.groups, -1)
    makes = op.out_channels // op.groups
    if op.groups > 1 and op.precision.activation_bits < PACKED_BITS:
        at.ties.keep(x)
    fixed = makes > 1 and (at.ties.roots(x) == STAYS).all()  # of the network's input
    if op.groups > 1 and min(reads.shape[1], makes) == 1 and not fixed:
        at.ties.join(reads.ravel(), np.repeat(reads[:, 0], reads.shape[1]))
        return np.repeat(reads[:, 0], makes)
    made = at.ties.new(op.out_channels)
    if op.groups > 1:
        at.rows += [reads, made.reshape(op.groups, -1)]
    return made


def linear(at: _Follower, op: ops.Linear, x: Atoms) -> Atoms:
    return at.ties.new(op.out_features)


def tied(at: _Follower, op: ops.Operator, x: Atoms, y: Atoms) -> Atoms:
    at.ties.join(x, y)
    return x


def concat(at: _Follower, op: ops.Concat, *inputs: Atoms) -> Atoms:
    return np.concatenate(inputs)


def channel_split(at: _Follower, op: ops.ChannelSplit, x: Atoms) -> Atoms:
    return x[op.start : op.stop]


def channel_shuffle(at: _Follower, op: ops.ChannelShuffle, x: Atoms) -> Atoms:
    rows = x.reshape(op.groups, -1)
    at.ties.join(rows.ravel(), np.tile(rows[0], op.groups))
    return rows.T.ravel() if at.in_place else x


def carried(at: _Follower, op: ops.Operator, x: Atoms) -> Atoms:
    return x


def mixed(at: _Follower, op: ops.Operator, x: Atoms) -> Atoms:
    """Of a norm over channels: what is left would be normalised otherwise."""
    at.ties.keep(x)
    return x


def magnitude(at: _Follower, op: ops.Magnitude, x: Atoms) -> Atoms:
    at.ties.keep(x)
    return np.full(1, STAYS)


FOLLOW: dict[type[ops.Operator], Callable[..., Atoms]] = {
    ops.Conv2d: conv2d,
    ops.Linear: linear,
    ops.Concat: concat,
    ops.ChannelSplit: channel_split,
    ops.ChannelShuffle: channel_shuffle,
    ops.Magnitude: magnitude,
    **dict.fromkeys((ops.LayerNorm, ops.LocalResponseNorm), mixed),
    **dict.fromkeys((ops.Add, ops.Scale), tied),
    **dict.fromkeys(
        (
            *(ops.Activate, ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool),
            *(ops.Dropout, ops.Quantize, ops.BatchNorm),
        ),
        carried,
    ),
}
