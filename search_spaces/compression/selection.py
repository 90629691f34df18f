"""Selection: which units of channels go, for a share of channels, MACs or parameters.

Units are put in order, least important first, and go one after the other until enough is gone. A
layer at its floor loses nothing more and others give in its place, so that no threshold can empty
a layer. Where a device computes channels in multiples, they go by bundles of as many.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, gcd, lcm
from typing import Literal, get_args

import numpy as np

from search_spaces.compression.channels import ChannelGroup, channel_groups
from search_spaces.compression.importance import Numbers
from search_spaces.compression.removal import kept_channels, without_channels
from search_spaces.graphs.cost import count_macs, count_params
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

Measure = Literal["channels", "macs", "params"]
Scope = Literal["global", "layer"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a selection keeps to.

    Attributes:
        scope: "global" lets the least important units of the whole network go; "layer" takes the
            same share of each group.
        floor: Share of its channels that each layer keeps at least; one is kept in any case.
        multiple: Widths become multiples of it, and at least one, where they are not left whole.
    """

    scope: Scope = "global"
    floor: float = 0.1
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise UserError(f"scope must be one of {', '.join(get_args(Scope))}: {self.scope!r}")
        if not 0 <= self.floor <= 1:
            raise UserError(f"floor must be a share between 0 and 1, got {self.floor}")
        if self.multiple < 1:
            raise UserError(f"multiple must be at least 1, got {self.multiple}")


@dataclass(frozen=True, slots=True)
class GroupCut:
    """What was chosen in one group of channels.

    Attributes:
        group: Its name.
        layers: For each layer that makes its channels, how many of its channels were and are left.
        scores: Of each unit; None where the importance says nothing about it, and all stay.
        gone: The units that go.
    """

    group: str
    layers: Mapping[str, tuple[int, int]]
    scores: tuple[float, ...] | None
    gone: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The units that go, and from where."""

    cuts: tuple[GroupCut, ...]

    @property
    def gone(self) -> dict[str, tuple[int, ...]]:
        """The units that go, by the name of their group, as `remove_channels` takes them."""
        return {cut.group: cut.gone for cut in self.cuts if cut.gone}


@dataclass(frozen=True, slots=True)
class Bundle:
    """Units of one group that go together.

    Attributes:
        key: Bundles of lower keys go first.
    """

    key: float
    group: ChannelGroup
    units: tuple[int, ...]


def select(
    graph: Graph,
    scores: Mapping[str, Numbers],
    ratio: float,
    of: Measure = "channels",
    rules: Rules = Rules(),
) -> Selection:
    """Returns the least important units whose removal takes at least ``ratio`` of a measure away.

    Args:
        scores: Of each unit, by the name of its group; groups without any stay whole.
        ratio: Share to take away, of what the graph has now.
        of: What it is a share of: channels of layers but for the input and the classes,
            multiply-accumulates, or learned parameters.

    Raises:
        UserError: If the ratio is not between 0 and 1, or more than the floors let go.
    """
    if of not in get_args(Measure):
        raise UserError(f"a ratio is one of {', '.join(get_args(Measure))}, got {of!r}")
    if not 0 <= ratio < 1:
        raise UserError(
            f"a ratio must be at least 0 and below 1, so that something is left, got {ratio}"
        )
    groups = channel_groups(graph)
    if not groups:
        raise UserError("no channels could go: all are the input's, the classes', or tied to them")
    order = removable(graph, groups, bundles(groups, scores, rules), rules)
    size = measure_of(graph, groups, of)
    whole = size([])
    wanted = whole * (1 - ratio)
    # The size falls as more goes: the first of all beginnings of the order that is small enough.
    count = bisect_left(range(len(order) + 1), True, key=lambda n: size(order[:n]) <= wanted)
    if count > len(order):
        most = 1 - size(order) / whole
        raise UserError(
            f"a ratio of {ratio:g} of the {of} cannot be reached: with a floor of {rules.floor:g} "
            f"of each layer and widths in multiples of {rules.multiple}, at most {most:.3f} can "
            "go; take a lower ratio, floor or multiple"
        )
    return selection(graph, groups, scores, order[:count])


def bundles(
    groups: tuple[ChannelGroup, ...], scores: Mapping[str, Numbers], rules: Rules
) -> list[Bundle]:
    """Returns the units of all groups in bundles, those that go first in front."""
    found = []
    for group in groups:
        if group.name not in scores:
            continue
        values = scores[group.name]
        units = np.argsort(values, kind="stable").tolist()
        step = units_of_a_multiple(group, rules.multiple)
        cuts = range(group.size % step or step, group.size + 1, step)
        for begin, end in zip((0, *cuts), cuts, strict=False):
            share = end / group.size
            key = share if rules.scope == "layer" else float(values[units[begin:end]].mean())
            found.append(Bundle(key, group, tuple(units[begin:end])))
    return sorted(found, key=lambda bundle: bundle.key)


def units_of_a_multiple(group: ChannelGroup, multiple: int) -> int:
    """Returns how many units give each producer a multiple of so many channels."""
    return lcm(*(multiple // gcd(multiple, group.width(name)) for name in group.producers))


def removable(
    graph: Graph, groups: tuple[ChannelGroup, ...], order: list[Bundle], rules: Rules
) -> list[Bundle]:
    """Returns the bundles that can all go while every layer keeps its floor."""
    left = {name: shape[0] for name, shape in graph.shapes.items()}
    least = dict.fromkeys(left, 1)
    for name in {name for group in groups for name in group.producers}:
        channels = graph.shapes[name][0]
        least[name] = min(channels, max(1, ceil(rules.floor * channels), rules.multiple))
    going = []
    for bundle in order:
        lost = {name: len(bundle.units) * bundle.group.width(name) for name in bundle.group.maps}
        if all(left[name] - count >= least[name] for name, count in lost.items()):
            going.append(bundle)
            left |= {name: left[name] - count for name, count in lost.items()}
    return going


def measure_of(
    graph: Graph, groups: tuple[ChannelGroup, ...], of: Measure
) -> Callable[[list[Bundle]], int]:
    """Returns what counts a measure of the graph without some bundles."""

    def channels(going: list[Bundle]) -> int:
        total = sum(group.size * layer_channels(group) for group in groups)
        return total - sum(len(each.units) * layer_channels(each.group) for each in going)

    def layer_channels(group: ChannelGroup) -> int:
        return sum(map(group.width, group.producers))

    def counted(going: list[Bundle]) -> int:
        left = without_channels(graph, kept_channels(graph, groups, gone_units(going)))
        return count_macs(left) if of == "macs" else count_params(left)

    return channels if of == "channels" else counted


def gone_units(going: list[Bundle]) -> dict[str, tuple[int, ...]]:
    gone: dict[str, tuple[int, ...]] = {}
    for bundle in going:
        gone[bundle.group.name] = gone.get(bundle.group.name, ()) + bundle.units
    return gone


def selection(
    graph: Graph,
    groups: tuple[ChannelGroup, ...],
    scores: Mapping[str, Numbers],
    going: list[Bundle],
) -> Selection:
    gone = gone_units(going)
    kept = kept_channels(graph, groups, gone)
    return Selection(
        tuple(
            GroupCut(
                group.name,
                {name: (len(kept[name]), int(kept[name].sum())) for name in group.producers},
                tuple(scores[group.name].tolist()) if group.name in scores else None,
                tuple(sorted(gone.get(group.name, ()))),
            )
            for group in groups
        )
    )
