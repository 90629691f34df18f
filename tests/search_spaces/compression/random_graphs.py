"""Random small networks of everything that ties channels, for hypothesis.

Each step takes one or two of the maps so far, so that sums, concatenations, splits and shuffles
stand behind one another as nobody would draw them.
"""

from collections.abc import Callable

from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import (
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Norm,
    Scale,
)

SIDE = 4
Step = Callable[[st.DrawFn, GraphBuilder, str, Node, Node, Norm], Node]


def conv(draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm) -> Node:
    channels = draw(st.integers(1, 3)) * (groups := draw(st.sampled_from(divisors(x.shape[0]))))
    kernel = draw(st.sampled_from(((1, 1), (3, 3), (1, 3))))
    op = Conv2d(channels, kernel, groups=groups, norm=norm, bias=norm == "none")
    return net.add(name, op, x)


def wide_groups(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    groups = draw(st.sampled_from((2, 3, 4)))
    y = net.add(f"{name}.in", Conv2d(groups * draw(st.integers(2, 6)), norm=norm), x)
    return net.add(name, Conv2d(groups * draw(st.integers(2, 4)), groups=groups, norm=norm), y)


def depthwise(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    channels = x.shape[0]
    return net.add(name, Conv2d(channels, (3, 3), groups=channels, norm=norm), x)


def residual(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    channels = x.shape[0]
    y = net.add(f"{name}.conv", Conv2d(channels, norm=norm, activation="none"), other)
    return net.add(name, Add(draw(st.sampled_from(("none", "relu")))), *draw(orders(x, y)))


def project(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    """Pre-activation: the branch reads a norm or an activation of its own."""
    y = net.add(f"{name}.act", BatchNorm() if norm == "batch" else Activate("relu"), x)
    y = net.add(f"{name}.conv", Conv2d(x.shape[0], (3, 3), norm=norm, activation="none"), y)
    return net.add(name, Add(), x, y)


def concat(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    return net.add(name, Concat(), x, other)


def split(draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm) -> Node:
    """Two parts, one of them worked on, side by side again."""
    channels = x.shape[0]
    if channels == 1:
        return net.add(name, Dropout(0.5), x)
    at = draw(st.integers(1, channels - 1))
    left = net.add(f"{name}.left", ChannelSplit(0, at), x)
    right = net.add(f"{name}.right", ChannelSplit(at, channels), x)
    y = net.add(f"{name}.conv", Conv2d(draw(st.integers(1, 6)), norm=norm), right)
    return net.add(name, Concat(), left, y)


def shuffle(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    return net.add(name, ChannelShuffle(draw(st.sampled_from(divisors(x.shape[0])))), x)


def squeeze_excite(
    draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm
) -> Node:
    y = net.add(f"{name}.squeeze", GlobalAvgPool(), x)
    y = net.add(f"{name}.reduce", Conv2d(2, norm="none", bias=True), y)
    gate = Conv2d(x.shape[0], norm="none", bias=True, activation="none")
    return net.add(name, Scale(), x, net.add(f"{name}.gate", gate, y))


def pool(draw: st.DrawFn, net: GraphBuilder, name: str, x: Node, other: Node, norm: Norm) -> Node:
    kind = draw(st.sampled_from((MaxPool, AvgPool)))
    return net.add(name, kind((3, 3), (1, 1), (1, 1)), x)


STEPS: tuple[Step, ...] = (
    *(conv, wide_groups, depthwise, residual, project, concat, split, shuffle),
    *(squeeze_excite, pool),
)
MOST_CHANNELS = 24


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def orders(x: Node, y: Node) -> st.SearchStrategy[tuple[Node, Node]]:
    return st.sampled_from(((x, y), (y, x)))


@st.composite
def graphs(draw: st.DrawFn, norm: Norm = "batch") -> Graph:
    """Networks of up to eight steps, all of whose ends come together in a linear layer."""
    net = GraphBuilder((draw(st.integers(1, 3)), SIDE, SIDE))
    maps = [net.input, net.add("stem", Conv2d(draw(st.integers(1, 8)), norm=norm), net.input)]
    for index in range(draw(st.integers(1, 8))):
        small = [each for each in maps if each.shape[0] <= MOST_CHANNELS // 2]
        x, other = draw(st.sampled_from(maps[-3:])), draw(st.sampled_from(small))
        step = draw(st.sampled_from(STEPS))
        if x.shape[0] + other.shape[0] <= MOST_CHANNELS:
            maps.append(step(draw, net, f"step{index}", x, other, norm))
    read = {name for node in net.nodes for name in node.inputs}
    ends = [node for node in net.nodes if node.name not in read]
    end = net.add("ends", Concat(), *ends) if len(ends) > 1 else ends[0]
    net.add("classifier", Linear(3), end)
    return net.graph()
