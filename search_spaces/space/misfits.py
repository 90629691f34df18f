"""Misfits: decisions of a staged space that make no network, found before a search meets them.

Stem, head and every block are built alone in every place they may take, at every precision and
prune ratio: what fits alone fits anywhere, and no product over layers is walked.
"""

from itertools import chain, product
from math import prod

from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Value
from search_spaces.building.layer import Layer
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.precision import FP32, get_precision
from search_spaces.space.staged import (
    PROBE_CHANNELS,
    BlockOption,
    Stage,
    StagedSpace,
    has_weights,
    is_prunable,
    layer_options,
    probe,
)

SIDE = 8  # of the maps on which blocks are tried
# Of maps on which windows are tried: strides leave small ones, which a window may not shrink.
SMALL_SIDES = (1, 2, 3)
MOST_TRIES = 100_000  # blocks built to check a space; each takes a tenth of a millisecond or more
MOST_LAYERS = 500


def check_space(space: StagedSpace) -> None:
    """Tries every block in every place it may take, alone, so that no search meets a misfit.

    Raises:
        UserError: If some decisions make no network; the message names place, block, precision
            and rule.
    """
    at = f"space {space.name!r}"
    largest = max(space.stem.strides) * prod(max(stage.strides) for stage in space.stages)
    if min(space.resolutions) < largest:
        raise UserError(
            f"{at}: resolution {min(space.resolutions)} is too small for strides "
            f"that multiply to {largest}; use a larger resolution or smaller strides"
        )
    check_effort(at, space)
    names = [stage.precisions for stage in space.stages]
    for name in chain(space.stem.precisions, *names, space.head.precisions):
        get_precision(name)
    check_stem(at, space)
    widths = space.stem.widths
    for index, stage in enumerate(space.stages):
        check_stage(f"{at}, stage{index}", stage, widths, space.round_to)
        widths = stage.widths
    check_head(at, space, widths)


def check_effort(at: str, space: StagedSpace) -> None:
    """Makes sure that checking and describing a space ends soon, before either begins."""
    if (layers := sum(max(stage.depths) for stage in space.stages)) > MOST_LAYERS:
        raise UserError(f"{at}: its stages may have {MOST_LAYERS} layers together, got {layers}")
    widths, tries = space.stem.widths, 0
    for stage in space.stages:
        places = len(widths) * len(stage.widths) * len(stage.strides) + len(stage.widths)
        settings = sum(option.num_settings for option in stage.blocks)
        tries += places * settings * len(stage.precisions) * len(stage.prune_ratios)
        widths = stage.widths
    if tries > MOST_TRIES:
        raise UserError(
            f"{at}: its values make {shown_count(tries)} blocks in their places, which are "
            f"all tried, and at most {MOST_TRIES} may be; give shorter lists of values"
        )


def shown_count(count: int) -> str:
    return str(count) if count < 10**12 else "more than a million million"


def check_stem(at: str, space: StagedSpace) -> None:
    stem = space.stem
    for precision in stem.precisions:
        for width, kernel, stride in product(stem.widths, stem.kernel_sizes, stem.strides):
            net = GraphBuilder((space.in_channels, *(min(space.resolutions),) * 2))
            try:
                conv = stem.conv2d(width, kernel, stride, "relu", get_precision(precision))
                net.add("stem", conv, net.input)
                net.graph()
            except ValueError as error:
                what = f"{at}, stem at precision {precision}, width {width}, kernel_size {kernel}"
                raise misfit(what, error) from None


def check_head(at: str, space: StagedSpace, widths: tuple[int, ...]) -> None:
    for precision, width in product(space.head.precisions, space.head.widths):
        net = GraphBuilder((widths[0], SIDE, SIDE))
        try:
            space.head.add_to(
                net, net.input, width, space.num_classes, "relu", get_precision(precision)
            )
            net.graph()
        except ValueError as error:
            what = f"{at}, head at precision {precision}, width {width}"
            raise misfit(what, error) from None


def check_stage(at: str, stage: Stage, in_widths: tuple[int, ...], round_to: int) -> None:
    for option in stage.blocks:
        check_settings(at, option)
    if not layer_options(stage, 0):
        raise UserError(f"{at}: the first layer needs a block other than 'skip'")
    first = set(product(in_widths, stage.widths, stage.strides))
    later = {(width, width, 1) for width in stage.widths} if max(stage.depths) > 1 else set()
    for option in stage.blocks:
        places = (first | later) if option in layer_options(stage, 0) else later
        for in_channels, out_channels, stride in sorted(places):
            check_place(at, option, stage, in_channels, Layer(out_channels, stride), round_to)


def check_settings(at: str, option: BlockOption) -> None:
    """Tries a block with room for everything: what fails here, its settings forbid."""
    for settings in option.every_setting():
        what = f"{at}: block {option.name!r} ({shown(settings)})"
        try:
            probe(option, settings, 0.0)
        except ValueError as error:
            raise misfit(what, error) from None
        for side, stride in product((*SMALL_SIDES, SIDE), (1, 2)):
            check_window(what, option, settings, side, stride)


def check_window(
    what: str, option: BlockOption, settings: dict[str, Value], side: int, stride: int
) -> None:
    """Makes sure that a block keeps ``ceil(side / stride)``, however small the map: an even window
    takes a pixel away in every layer, until one no longer fits.
    """
    if stride > 1 and not has_weights(option):
        return
    rule = "a block must keep the size of its map, divided by its stride; use odd kernel sizes"
    net = GraphBuilder((PROBE_CHANNELS, side, side))
    try:
        made = option.build(settings).add_to(net, net.input, Layer(PROBE_CHANNELS, stride))
    except ValueError as error:
        raise misfit(f"{what} on a map of {side} x {side}, stride {stride}", error) from None
    if made.shape[1:] != (-(-side // stride),) * 2:
        got = " x ".join(map(str, made.shape[1:]))
        raise misfit(
            f"{what} on a map of {side} x {side}, stride {stride}",
            ValueError(f"it makes {got}; {rule}"),
        )


def check_place(
    at: str, option: BlockOption, stage: Stage, in_channels: int, place: Layer, round_to: int
) -> None:
    precisions = stage.precisions if has_weights(option) else ("fp32",)
    ratios = stage.prune_ratios if is_prunable(option) else (0.0,)
    for settings, precision, ratio in product(option.every_setting(), precisions, ratios):
        net = GraphBuilder((in_channels, SIDE, SIDE))
        layer = Layer(
            place.out_channels,
            place.stride,
            prune_ratio=ratio,
            precision=get_precision(precision),
            round_to=round_to,
        )
        try:
            option.build(settings).add_to(net, net.input, layer)
        except ValueError as error:
            what = (
                f"{at}: block {option.name!r} ({shown(settings)}) from {in_channels} to "
                f"{place.out_channels} channels, stride {place.stride}"
            )
            what += f", precision {precision}" if precision != FP32.name else ""
            what += f", prune_ratio {ratio:g}" if ratio else ""
            raise misfit(what, error) from None


def misfit(what: str, error: ValueError) -> UserError:
    return UserError(f"{what}: {error}; take that value or block out of the space")


def shown(settings: dict[str, Value]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items()) or "no settings"
