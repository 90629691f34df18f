"""Staged space: a stem, stages of searched depth, width and stride, a head.

Every layer of a stage picks its own block, the block's settings, prune ratio and precision, so
one network may mix blocks. A decision with a single value is not asked. Genes are called
``stage0.layer1.fire.expand_ratio``: the block stands in the name, because one name must always
have one set of values.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import lcm, prod

from search_spaces.blocks.registry import Block, get_block
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice, Pick, Value
from search_spaces.building.layer import Layer
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import Conv2d, Dropout, GlobalAvgPool, Linear
from search_spaces.graphs.precision import FP32, Precision, get_precision

# Of the small networks that blocks are tried in: any groups up to 16 divide it, and its quarter.
PROBE_CHANNELS = 4 * lcm(*range(1, 17))


@dataclass(frozen=True, slots=True)
class BlockOption:
    """A block of the catalogue with the values it may take here.

    Attributes:
        name: Its name in the catalogue.
        settings: Each of the block's choices, perhaps narrowed or widened.
    """

    name: str
    settings: tuple[Choice, ...]

    def build(self, values: dict[str, Value]) -> Block:
        return get_block(self.name)(**values)

    def every_setting(self) -> Iterator[dict[str, Value]]:
        names = [choice.name for choice in self.settings]
        for row in product(*(choice.values for choice in self.settings)):
            yield dict(zip(names, row, strict=True))

    @property
    def num_settings(self) -> int:
        return prod(len(choice.values) for choice in self.settings)


@dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution; float32 unless the space says otherwise."""

    widths: tuple[int, ...] = (16,)
    kernel_sizes: tuple[int, ...] = (3,)
    strides: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("fp32",)

    def conv2d(
        self,
        width: int,
        kernel_size: int,
        stride: int,
        activation: Activation,
        precision: Precision = FP32,
    ) -> Conv2d:
        kernel, strides = (kernel_size, kernel_size), (stride, stride)
        return Conv2d(width, kernel, strides, activation=activation, precision=precision)


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers of one width; the first one strides."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    blocks: tuple[BlockOption, ...]
    prune_ratios: tuple[float, ...] = (0.0,)
    precisions: tuple[str, ...] = ("fp32",)


@dataclass(frozen=True, slots=True)
class Head:
    """Pointwise convolution (left out at width 0), pooling, dropout, classifier.

    Both layers have one precision; float32 unless the space says otherwise.
    """

    widths: tuple[int, ...] = (0,)
    dropout: float = 0.0
    precisions: tuple[str, ...] = ("fp32",)

    def add_to(
        self,
        net: GraphBuilder,
        x: Node,
        width: int,
        num_classes: int,
        activation: Activation,
        precision: Precision = FP32,
    ) -> Node:
        with net.scope("head"):
            if width:
                conv = Conv2d(width, activation=activation, precision=precision)
                x = net.add("conv", conv, x)
            x = net.add("pool", GlobalAvgPool(), x)
            if self.dropout:
                x = net.add("dropout", Dropout(self.dropout), x)
            return net.add("classifier", Linear(num_classes, precision=precision), x)


@dataclass(frozen=True, slots=True)
class StagedSpace:
    """All networks of a stem, stages and a head.

    Attributes:
        in_channels: Channels of the images.
        resolutions: Height (= width) that images are resized to.
        round_to: Hardware multiple for inner channels.
    """

    name: str
    in_channels: int
    num_classes: int
    resolutions: tuple[int, ...]
    stages: tuple[Stage, ...]
    stem: Stem = Stem()
    head: Head = Head()
    activations: tuple[Activation, ...] = ("relu",)
    round_to: int = 8

    def network(self, pick: Pick) -> Graph:
        resolution = int(choose(pick, "resolution", self.resolutions))
        activation: Activation = choose(pick, "activation", self.activations)  # type: ignore[assignment]
        net = GraphBuilder((self.in_channels, resolution, resolution))
        x = self.add_stem(net, pick, activation)
        for index, stage in enumerate(self.stages):
            plain = Layer(1, activation=activation, round_to=self.round_to)
            x = add_stage(net, pick, x, f"stage{index}", stage, plain)
        width = int(choose(pick, "head.width", self.head.widths))
        precision = get_precision(str(choose(pick, "head.precision", self.head.precisions)))
        self.head.add_to(net, x, width, self.num_classes, activation, precision)
        return net.graph()

    def add_stem(self, net: GraphBuilder, pick: Pick, activation: Activation) -> Node:
        width = int(choose(pick, "stem.width", self.stem.widths))
        kernel = int(choose(pick, "stem.kernel_size", self.stem.kernel_sizes))
        stride = int(choose(pick, "stem.stride", self.stem.strides))
        precision = get_precision(str(choose(pick, "stem.precision", self.stem.precisions)))
        conv = self.stem.conv2d(width, kernel, stride, activation, precision)
        return net.add("stem", conv, net.input)


def add_stage(net: GraphBuilder, pick: Pick, x: Node, at: str, stage: Stage, plain: Layer) -> Node:
    depth = int(choose(pick, f"{at}.depth", stage.depths))
    width = int(choose(pick, f"{at}.width", stage.widths))
    stride = int(choose(pick, f"{at}.stride", stage.strides))
    for index in range(depth):
        here = f"{at}.layer{index}"
        options = layer_options(stage, index)
        name = str(choose(pick, f"{here}.block", tuple(option.name for option in options)))
        (option,) = (option for option in options if option.name == name)
        settings = {
            choice.name: choose(pick, f"{here}.{name}.{choice.name}", choice.values)
            for choice in option.settings
        }
        layer = replace(plain, out_channels=width, stride=stride if index == 0 else 1)
        if has_weights(option):
            layer = replace(
                layer,
                precision=get_precision(str(choose(pick, f"{here}.precision", stage.precisions))),
            )
        if is_prunable(option):
            ratio = float(choose(pick, f"{here}.prune_ratio", stage.prune_ratios))
            layer = replace(layer, prune_ratio=ratio)
        with net.scope(here):
            x = option.build(settings).add_to(net, x, layer)
    return x


def choose(pick: Pick, name: str, values: tuple[Value, ...]) -> Value:
    """Asks for a decision, unless there is only one way to decide it."""
    return values[0] if len(values) == 1 else pick(Choice(name, values))


def layer_options(stage: Stage, index: int) -> tuple[BlockOption, ...]:
    """Returns the blocks that layer ``index`` may be; the first changes the width, so no skip."""
    if index:
        return stage.blocks
    return tuple(option for option in stage.blocks if has_weights(option))


def probe(option: BlockOption, settings: dict[str, Value], prune_ratio: float) -> GraphBuilder:
    """Returns a small network with only this block in it."""
    net = GraphBuilder((PROBE_CHANNELS, 8, 8))
    option.build(settings).add_to(net, net.input, Layer(PROBE_CHANNELS, prune_ratio=prune_ratio))
    return net


@cache
def has_weights(option: BlockOption) -> bool:
    """Whether the block computes anything with weights, at its first settings."""
    net = probe(option, next(option.every_setting()), 0.0)
    return any(isinstance(node.operator, Conv2d | Linear) for node in net.nodes)


@cache
def is_prunable(option: BlockOption) -> bool:
    """Whether the block has, at some settings, inner channels that a prune ratio can take away."""
    return any(
        probe(option, settings, 0.0).nodes != probe(option, settings, 0.5).nodes
        for settings in option.every_setting()
    )


def count_architectures(space: StagedSpace) -> int:
    """Returns how many ways of deciding the space has."""
    stem = len(space.stem.widths) * len(space.stem.kernel_sizes) * len(space.stem.strides)
    stem *= len(space.stem.precisions)
    head = len(space.head.widths) * len(space.head.precisions)
    outside = len(space.resolutions) * len(space.activations) * head
    return stem * outside * prod(count_stage(stage) for stage in space.stages)


def count_stage(stage: Stage) -> int:
    first, later = (count_layer(stage, index) for index in (0, 1))
    layers = sum(first * later ** (depth - 1) for depth in stage.depths)
    return len(stage.widths) * len(stage.strides) * layers


def count_layer(stage: Stage, index: int) -> int:
    return sum(
        option.num_settings
        * (len(stage.precisions) if has_weights(option) else 1)
        * (len(stage.prune_ratios) if is_prunable(option) else 1)
        for option in layer_options(stage, index)
    )


def block_option(name: str, narrowed: dict[str, tuple[Value, ...]] | None = None) -> BlockOption:
    """Returns a block with its catalogue's choices, some replaced by other values.

    Raises:
        UserError: If the block or a setting is unknown.
    """
    block = get_block(name)
    known = {choice.name: choice for choice in block.choices}
    if unknown := sorted((narrowed or {}).keys() - known.keys()):
        raise UserError(
            f"block {name!r} has no setting {unknown[0]!r}; its settings are "
            f"{', '.join(known) or 'none'}"
        )
    for key, values in (narrowed or {}).items():
        usual = known[key].values
        kinds = int | float if isinstance(usual[0], float) else type(usual[0])
        if wrong := [value for value in values if not isinstance(value, kinds)]:
            raise UserError(
                f"block {name!r}: {key} must be like {', '.join(map(str, usual))}, got "
                f"{wrong[0]!r}"
            )
    chosen = known | {key: Choice(key, values) for key, values in (narrowed or {}).items()}
    return BlockOption(name, tuple(chosen.values()))


def describe_space(space: StagedSpace) -> str:
    """Returns the space as lines for people: every place with the values it may take."""

    def several(values: tuple[Value, ...]) -> str:
        return str(values[0]) if len(values) == 1 else "{" + ", ".join(map(str, values)) + "}"

    lines = [
        f"{space.name}: {space.in_channels} channels, resolution {several(space.resolutions)}, "
        f"{space.num_classes} classes, activation {several(space.activations)}, inner channels "
        f"round to {space.round_to}",
        f"stem: width {several(space.stem.widths)}, kernel_size "
        f"{several(space.stem.kernel_sizes)}, stride {several(space.stem.strides)}, precision "
        f"{several(space.stem.precisions)}",
    ]
    for index, stage in enumerate(space.stages):
        lines.append(
            f"stage{index}: depth {several(stage.depths)}, width {several(stage.widths)}, stride "
            f"{several(stage.strides)}, prune_ratio {several(stage.prune_ratios)}, precision "
            f"{several(stage.precisions)}"
        )
        for option in stage.blocks:
            settings = ", ".join(f"{c.name} {several(c.values)}" for c in option.settings)
            lines.append(f"  {option.name}: {settings}" if settings else f"  {option.name}")
    lines.append(
        f"head: width {several(space.head.widths)}, dropout {space.head.dropout:g}, precision "
        f"{several(space.head.precisions)}"
    )
    return "\n".join(lines)
