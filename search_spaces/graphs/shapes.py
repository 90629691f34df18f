"""Shapes: what an operator is, the sizes it gives, and the checks they share.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from collections.abc import Mapping
from math import ceil, floor
from typing import Protocol

Shape = tuple[int, int, int]  # (C, H, W)
Size = tuple[int, int]  # (height, width)


class Operator(Protocol):
    """What a node computes."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """Returns the shape this operator gives.

        Raises:
            ValueError: If the inputs do not fit.
        """
        ...

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """Returns the shape of each named array (weights, norm statistics) it needs."""
        ...


class Weightless:
    """Operators without arrays."""

    __slots__ = ()

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        return {}


def only(name: str, inputs: tuple[Shape, ...]) -> Shape:
    if len(inputs) != 1:
        raise ValueError(f"{name} takes one input, got {len(inputs)}")
    return inputs[0]


def at_least(least: int, name: str, *values: int) -> None:
    for value in values:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def check_pads(kernel_size: Size, padding: Size, end_padding: Size) -> None:
    """Refuses padding so wide that a window may lie outside the map."""
    for window, before, after in zip(kernel_size, padding, end_padding, strict=True):
        if max(before, after) >= window:
            raise ValueError(
                f"padding must be smaller than the window it is for, got {max(before, after)} for "
                f"kernel_size {kernel_size}"
            )


def window_size(
    size: Size,
    kernel: Size,
    stride: Size,
    padding: Size,
    dilation: Size = (1, 1),
    ceil_mode: bool = False,
    end_padding: Size | None = None,
) -> Size:
    """Returns how many windows fit along height and width.

    Args:
        padding: Above and left.
        end_padding: Below and right; None is as above and left.

    Raises:
        ValueError: If the padded map is smaller than the window.
    """
    ends = padding if end_padding is None else end_padding
    height, width = (
        windows_along(length, window, step, before, apart, ceil_mode, end)
        for length, window, step, before, apart, end in zip(
            size, kernel, stride, padding, dilation, ends, strict=True
        )
    )
    return height, width


def windows_along(
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    ceil_mode: bool,
    end_padding: int | None = None,
) -> int:
    end = padding if end_padding is None else end_padding
    span = dilation * (kernel - 1) + 1
    room = size + padding + end - span
    if room < 0:
        by = padding if end == padding else f"{padding} and {end}"
        raise ValueError(
            f"a window of {span} does not fit a map of {size} padded by {by}; use a larger "
            "input resolution or fewer strides before it"
        )
    if not ceil_mode:
        return floor(room / stride) + 1
    count = ceil(room / stride) + 1
    # A window must begin inside the map or its leading padding, as torch and ONNX have it.
    return count - 1 if (count - 1) * stride >= size + padding else count


def window_ends(
    sizes: Size, counts: Size, kernel: Size, stride: Size, padding: Size, dilation: Size = (1, 1)
) -> Size:
    """Returns how far the last of so many windows reaches past a map, below and right.

    Negative where it ends inside.
    """
    height, width = (
        (count - 1) * step + apart * (window - 1) + 1 - size - pad
        for size, count, window, step, pad, apart in zip(
            sizes, counts, kernel, stride, padding, dilation, strict=True
        )
    )
    return height, width
