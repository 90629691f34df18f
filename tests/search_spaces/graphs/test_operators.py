"""Operators: shapes by hand and against counting, errors that name rule and value."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search_spaces.graphs.operators import (
    OPERATOR_NAMES,
    OPERATORS,
    Activate,
    Add,
    AvgPool,
    ChannelShuffle,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Operator,
    Scale,
    Shape,
    windows_along,
)

MAP = (12, 9, 7)


@pytest.mark.parametrize(
    ("operator", "inputs", "shape"),
    [
        (Conv2d(5), [MAP], (5, 9, 7)),
        (Conv2d(5, (3, 3), stride=(2, 2)), [MAP], (5, 5, 4)),
        (Conv2d(5, (1, 7), stride=(1, 2)), [MAP], (5, 9, 4)),
        (Conv2d(5, (7, 1), stride=(2, 1)), [MAP], (5, 5, 7)),
        (Conv2d(5, (3, 3), padding=(0, 0)), [MAP], (5, 7, 5)),
        (Conv2d(5, (3, 3), dilation=(2, 3)), [MAP], (5, 9, 7)),
        (Conv2d(5, (11, 11), stride=(4, 4), padding=(2, 2)), [(3, 224, 224)], (5, 55, 55)),
        (Conv2d(24, (3, 3), groups=12), [MAP], (24, 9, 7)),
        (Linear(4), [MAP], (4, 1, 1)),
        (Add(), [MAP, MAP], MAP),
        (Concat(), [MAP, (3, 9, 7), (1, 9, 7)], (16, 9, 7)),
        (ChannelSplit(2, 7), [MAP], (5, 9, 7)),
        (ChannelShuffle(4), [MAP], MAP),
        (Scale(), [MAP, (12, 1, 1)], MAP),
        (Activate("relu"), [MAP], MAP),
        (MaxPool((3, 3), (2, 2), (1, 1)), [MAP], (12, 5, 4)),
        (MaxPool((3, 3), (2, 2)), [(1, 112, 112)], (1, 55, 55)),
        (MaxPool((3, 3), (2, 2), ceil_mode=True), [(1, 112, 112)], (1, 56, 56)),
        (AvgPool((3, 3), (2, 2), (1, 1)), [MAP], (12, 5, 4)),
        (GlobalAvgPool(), [MAP], (12, 1, 1)),
        (Dropout(0.5), [MAP], MAP),
    ],
    ids=str,
)
def test_output_shape(operator: Operator, inputs: list[Shape], shape: Shape) -> None:
    assert operator.output_shape(*inputs) == shape


@pytest.mark.parametrize(
    ("operator", "arrays"),
    [
        (
            Conv2d(6, (3, 5), groups=3),
            {
                "weight": (6, 4, 3, 5),
                "norm.weight": (6,),
                "norm.bias": (6,),
                "norm.mean": (6,),
                "norm.variance": (6,),
            },
        ),
        (Conv2d(6, norm="none", bias=True), {"weight": (6, 12, 1, 1), "bias": (6,)}),
        (Conv2d(6, norm="none"), {"weight": (6, 12, 1, 1)}),
        (Linear(4), {"weight": (4, 12 * 9 * 7), "bias": (4,)}),
        (Linear(4, bias=False), {"weight": (4, 12 * 9 * 7)}),
        (MaxPool((2, 2), (2, 2)), {}),
        (Activate("hardswish"), {}),
        (LayerNorm(), {"gain": (12,), "bias": (12,)}),
        (LocalResponseNorm(5), {}),
    ],
    ids=str,
)
def test_array_shapes(operator: Operator, arrays: dict[str, tuple[int, ...]]) -> None:
    assert operator.array_shapes(MAP) == arrays


@pytest.mark.parametrize(
    ("operator", "inputs", "message"),
    [
        (Conv2d(6, groups=5), [MAP], r"in_channels \(=12\) and out_channels \(=6\) must be"),
        (Conv2d(7, groups=3), [MAP], r"out_channels \(=7\) must be divisible by groups \(=3\)"),
        (Conv2d(6), [MAP, MAP], "conv2d takes one input, got 2"),
        (Conv2d(6, (9, 9), padding=(0, 0)), [MAP], "a window of 9 does not fit a map of 7"),
        (Linear(4), [], "linear takes one input, got 0"),
        (Add(), [MAP], "add needs two equal shapes, got"),
        (Add(), [MAP, (12, 9, 6)], "add needs two equal shapes, got"),
        (Concat(), [MAP], "concat needs two or more maps of one size"),
        (Concat(), [MAP, (3, 9, 6)], "concat needs two or more maps of one size"),
        (ChannelSplit(2, 13), [MAP], "channel_split 2:13 is outside the map's 12 channels"),
        (ChannelSplit(4, 4), [MAP], "channel_split 4:4 is outside"),
        (ChannelSplit(-1, 4), [MAP], "channel_split -1:4 is outside"),
        (ChannelShuffle(5), [MAP], r"channels \(=12\) must be divisible by groups \(=5\)"),
        (Scale(), [MAP, MAP], r"scale needs a map \(C, H, W\) and a gate \(C, 1, 1\)"),
        (MaxPool((4, 4), (1, 1)), [(1, 3, 3)], "use a larger input resolution or fewer strides"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_refused(
    operator: Operator, inputs: list[Shape], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        operator.output_shape(*inputs)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="out_channels must be at least 1, got 0"):
        Conv2d(0)
    with pytest.raises(ValueError, match="kernel_size must be at least 1, got 0"):
        Conv2d(4, (3, 0))
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        Conv2d(4, stride=(0, 1))
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        Conv2d(4, padding=(-1, 0))
    with pytest.raises(ValueError, match=r"prune_ratio must be in \[0, 1\), got 1"):
        Conv2d(4, prune_ratio=1)
    with pytest.raises(ValueError, match=r"activation must be one of none, relu, .*, got 'swish'"):
        Conv2d(4, activation="swish")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"norm must be one of .*, got 'layer'"):
        Conv2d(4, norm="layer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out_features must be at least 1, got 0"):
        Linear(0)
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        ChannelShuffle(0)
    with pytest.raises(ValueError, match="epsilon must be a number above 0, got nan"):
        LayerNorm(float("nan"))
    with pytest.raises(ValueError, match="size must be odd, so that it has a middle, got 4"):
        LocalResponseNorm(4)
    with pytest.raises(ValueError, match="k must be a number above 0, got 0"):
        LocalResponseNorm(5, k=0)
    with pytest.raises(ValueError, match="alpha must be a number above 0, got -1"):
        LocalResponseNorm(5, alpha=-1)
    with pytest.raises(ValueError, match="beta must be a number above 0, got inf"):
        LocalResponseNorm(5, beta=float("inf"))
    with pytest.raises(ValueError, match="smaller than the window it is for, got 3"):
        MaxPool((3, 3), (2, 2), (2, 3))
    with pytest.raises(ValueError, match=r"dropout rate must be in \[0, 1\), got 1\.5"):
        Dropout(1.5)


def test_operators_are_values() -> None:
    assert Conv2d(4, (3, 3)) == Conv2d(4, (3, 3))
    assert len({Conv2d(4), Conv2d(4), Conv2d(5)}) == 2
    with pytest.raises(FrozenInstanceError):
        Conv2d(4).out_channels = 5  # type: ignore[misc]


def test_every_operator_has_one_name() -> None:
    assert {OPERATOR_NAMES[kind]: kind for kind in OPERATORS.values()} == OPERATORS


@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    ceil_mode=st.booleans(),
)
def test_windows_are_those_that_can_be_counted_one_by_one(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> None:
    span = dilation * (kernel - 1) + 1
    assume(span <= size + 2 * padding)
    assume(not ceil_mode or padding * 2 <= kernel)  # all that a pool, which has the mode, allows
    starts = range(-padding, size + padding, stride)
    # Whole windows; in ceil mode also the first that is cut off, if it begins inside the map.
    whole = [start for start in starts if start + span <= size + padding]
    cut = [start for start in starts if start + span > size + padding and start < size]
    needed = whole[-1] + span < size + padding
    count = len(whole) + (1 if ceil_mode and needed and whole[-1] + stride in cut else 0)

    assert windows_along(size, kernel, stride, padding, dilation, ceil_mode) == count


@given(st.integers(1, 40), st.sampled_from([1, 3, 5, 7]), st.integers(1, 4), st.integers(1, 3))
def test_an_odd_kernel_keeps_the_size_divided_by_the_stride_rounded_up(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    conv = Conv2d(1, (kernel, 1), (stride, 1), dilation=(dilation, 1))

    assert conv.output_shape((1, size, 1)) == (1, -(-size // stride), 1)
