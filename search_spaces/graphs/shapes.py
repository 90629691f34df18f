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


def window_size(
    size: Size, kernel: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool = False
) -> Size:
    """Returns how many windows fit along height and width.

    Raises:
        ValueError: If the padded map is smaller than the window.
    """
    return (
        windows_along(size[0], kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        windows_along(size[1], kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )


def windows_along(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    span = dilation * (kernel - 1) + 1
    room = size + 2 * padding - span
    if room < 0:
        raise ValueError(
            f"a window of {span} does not fit a map of {size} padded by {padding}; use a larger "
            "input resolution or fewer strides before it"
        )
    if not ceil_mode:
        return floor(room / stride) + 1
    count = ceil(room / stride) + 1
    # A window must begin inside the map or its leading padding, as torch and ONNX have it.
    return count - 1 if (count - 1) * stride >= size + padding else count
