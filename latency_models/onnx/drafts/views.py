"""Views: an ONNX value as positions in one of our maps.

ONNX moves numbers in many ways (reshape, transpose, flatten, squeeze, slice, split, gather, pad,
channels last). Each of them only says where every number of its result lies in a map, so that all
of them are one array of positions. What such an array means is asked for where numbers are
computed: a channel split, a shuffle, an order of weights, or none of these.

Shape letters: C channels, H and W spatial size of the map; the first axis of a value is the batch
of one image.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.operators import Shape

Positions = NDArray[np.int32]
ZERO = -1  # the position of a number that is zero and lies in no map


@dataclass(frozen=True, slots=True, eq=False)
class MapView:
    """An ONNX value whose numbers are those of a map.

    Attributes:
        map: Name of the map in the draft.
        shape: Of the map, (C, H, W).
        positions: For each number of the value, where it lies in the flattened map, or `ZERO`.
    """

    map: str
    shape: Shape
    positions: Positions

    @property
    def pixels(self) -> int:
        return self.shape[1] * self.shape[2]

    @property
    def is_whole(self) -> bool:
        """Whether the value has every number of the map exactly once, and nothing else."""
        size, flat = self.shape[0] * self.pixels, self.positions.reshape(-1)
        if flat.size != size:
            return False
        return np.array_equal(flat, in_order(size)) or np.array_equal(
            np.sort(flat), in_order(size)
        )

    @property
    def is_in_order(self) -> bool:
        """Whether the value's numbers are those of the map, one after the other."""
        return np.array_equal(self.positions.reshape(-1), in_order(self.shape[0] * self.pixels))

    def moved(self, positions: Positions) -> "MapView":
        """Returns another value of the same map."""
        return MapView(self.map, self.shape, positions)

    def of(self, name: str) -> "MapView":
        """Returns the same positions in another map of the same shape."""
        return MapView(name, self.shape, self.positions)


@lru_cache(16)  # the maps of a network have few sizes
def in_order(size: int) -> Positions:
    positions = np.arange(size, dtype=np.int32)
    positions.setflags(write=False)
    return positions


def whole(name: str, shape: Shape, as_shape: tuple[int, ...] | None = None) -> MapView:
    """Returns all of a map in order, as (1, C, H, W) or as the shape that is given."""
    size = shape[0] * shape[1] * shape[2]
    return MapView(name, shape, in_order(size).reshape(as_shape or (1, *shape)))


@dataclass(frozen=True, slots=True)
class Picked:
    """A value (1, C', H', W') that picks channels, rows and columns of a map, each in any order.

    Attributes:
        channels: For each channel of the value, the map's, or `ZERO`; likewise rows and columns.
    """

    channels: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def selection(view: MapView) -> Picked | None:
    """Returns which channels, rows and columns a value (1, C', H', W') picks; None if it is no
    such choice.
    """
    positions, width = view.positions[0], view.shape[2]
    is_zero = positions < 0
    channel = np.where(is_zero, ZERO, positions // view.pixels)
    row = np.where(is_zero, ZERO, positions % view.pixels // width)
    column = np.where(is_zero, ZERO, positions % width)
    channels, rows, columns = channel.max((1, 2)), row.max((0, 2)), column.max((0, 1))
    grid = np.ix_(channels, rows, columns)
    expected = grid[0] * view.pixels + grid[1] * width + grid[2]
    expected[(grid[0] < 0) | (grid[1] < 0) | (grid[2] < 0)] = ZERO
    if not np.array_equal(expected, positions):
        return None
    return Picked(*(tuple(map(int, each)) for each in (channels, rows, columns)))


def progression(picked: tuple[int, ...]) -> tuple[int, int] | None:
    """Returns first and step of an arithmetic progression that grows; None for others.

    >>> progression((1, 3, 5)), progression((4,)), progression((1, 2, 4))
    ((1, 2), (4, 1), None)
    """
    step = picked[1] - picked[0] if len(picked) > 1 else 1
    if step < 1 or any(b - a != step for a, b in pairwise(picked)):
        return None
    return picked[0], step


def shuffle_groups(picked: tuple[int, ...]) -> int | None:
    """Returns the groups of the channel shuffle that gives channels in this order; None if none.

    >>> shuffle_groups((0, 3, 1, 4, 2, 5)), shuffle_groups((0, 2, 4, 1, 3, 5))
    (2, 3)
    """
    count, step = len(picked), picked[1] if len(picked) > 1 else 0
    if step < 2 or count % step:
        return None
    shuffled = np.arange(count).reshape(count // step, step).T.reshape(-1)
    return count // step if tuple(shuffled) == picked else None


def channel_values(view: MapView, values: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Returns the number of each channel (C,) that a value meets in an array.

    Args:
        values: Of a shape that broadcasts to the value's.

    Returns None if the numbers of one channel differ, or the array does not fit the value.
    """
    if values.size == 1:
        return np.full(view.shape[0], float(values.reshape(-1)[0]))
    try:
        each = np.broadcast_to(np.asarray(values, np.float64), view.positions.shape)
    except ValueError:
        return None
    flat = np.empty(view.shape[0] * view.pixels)
    flat[view.positions.reshape(-1)] = each.reshape(-1)
    table = flat.reshape(view.shape[0], -1)
    same = np.array_equal(table, np.broadcast_to(table[:, :1], table.shape), equal_nan=True)
    return table[:, 0].copy() if same else None


def pixel_rows(view: MapView) -> tuple[Positions, Positions] | None:
    """Returns the channels along a value's last axis (K,) and the pixels of its rows (R,).

    None unless every row has the same channels of one pixel, and the rows every pixel once.
    """
    table = view.positions.reshape(-1, view.positions.shape[-1])
    if table.min() < 0:
        return None
    channels, pixels = table[0] // view.pixels, table[:, 0] % view.pixels
    if not np.array_equal(table, channels[None, :] * view.pixels + pixels[:, None]):
        return None
    if not np.array_equal(np.sort(pixels), in_order(view.pixels)):
        return None
    return channels, pixels
