"""Space file: the part of a run file that says what may be built."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from nas.problem.precision_file import PrecisionFile
from nas.problem.validation import Many, Strict, known, listed
from search_spaces.blocks.registry import get_block
from search_spaces.building.choice import Value
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown
from search_spaces.space.misfits import check_space
from search_spaces.space.staged import Head, Stage, StagedSpace, Stem, block_option


def one_mapping(value: object) -> object:
    """Returns blocks, given as names and as mappings, as one mapping of name to settings."""
    blocks: dict[object, object] = {}
    for item in [value] if isinstance(value, str | dict) else listed(value):  # type: ignore[attr-defined]
        for name, settings in item.items() if isinstance(item, dict) else [(item, None)]:
            if not isinstance(name, str):
                raise UserError(
                    f"a block must be a name, or a name with settings, got {shown(name)}"
                )
            if name in blocks:
                raise UserError(f"blocks must differ, got {shown(name)} twice")
            blocks[name] = {} if settings is None else settings
    return blocks


def within_reason(value: Value) -> Value:
    if not isinstance(value, str) and not abs(value) <= MOST_SETTING:
        raise UserError(f"a block's setting must be at most {MOST_SETTING}, got {shown(value)}")
    return value


# Beyond these a space is a slip of the keyboard, and would keep its reader busy for ever.
MOST_SETTING = 1024
Depth = Annotated[int, Field(ge=1, le=256)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Window = Annotated[int, Field(ge=1, le=255)]
Stride = Annotated[int, Field(ge=1, le=64)]
Resolution = Annotated[int, Field(ge=1, le=8192)]
BlockName = Annotated[str, known(get_block)]
Setting = Annotated[Value, AfterValidator(within_reason)]
Blocks = Annotated[dict[BlockName, dict[str, Many[Setting]]], Field(min_length=1)]


class StemFile(PrecisionFile):
    width: Many[Width] = (16,)
    kernel_size: Many[Window] = (3,)
    stride: Many[Stride] = (1,)


class StageFile(PrecisionFile):
    depth: Many[Depth]
    width: Many[Width]
    stride: Many[Stride] = (1,)
    blocks: Annotated[Blocks, BeforeValidator(one_mapping)]
    prune_ratio: Many[Annotated[float, Field(ge=0, lt=1)]] = (0.0,)


class HeadFile(PrecisionFile):
    width: Many[Annotated[int, Field(ge=0, le=65_536)]] = (0,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SpaceFile(Strict):
    resolution: Many[Resolution]
    stages: Annotated[list[StageFile], Field(min_length=1, max_length=64)]
    stem: StemFile = StemFile()
    head: HeadFile = HeadFile()
    activation: Many[Activation] = ("relu",)
    round_to: Width = 8


def staged_space(name: str, file: SpaceFile, *, is_tried: bool = False) -> StagedSpace:
    """Returns the space that the file describes; every block of it is tried in every place.

    Args:
        is_tried: Whether that has been done before.

    Raises:
        UserError: If a name is unknown or a block does not fit where it may be put.
    """
    space = StagedSpace(
        name=name,
        in_channels=3,
        num_classes=10,
        resolutions=file.resolution,
        stem=Stem(file.stem.width, file.stem.kernel_size, file.stem.stride, file.stem.precision),
        stages=tuple(staged(stage) for stage in file.stages),
        head=Head(file.head.width, file.head.dropout, file.head.precision),
        activations=file.activation,
        round_to=file.round_to,
    )
    if not is_tried:
        check_space(space)
    return space


def staged(stage: StageFile) -> Stage:
    return Stage(
        depths=stage.depth,
        widths=stage.width,
        strides=stage.stride,
        blocks=tuple(block_option(name, values) for name, values in stage.blocks.items()),
        prune_ratios=stage.prune_ratio,
        precisions=stage.precision,
    )
