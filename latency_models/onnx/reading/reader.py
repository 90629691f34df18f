"""Reader: what the functions that read ONNX nodes share: values, the draft, what is said."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from latency_models.onnx.drafts.draft import Draft, Origin, UnreadableError
from latency_models.onnx.drafts.pieces import Border
from latency_models.onnx.drafts.views import (
    ZERO,
    MapView,
    progression,
    selection,
    shuffle_groups,
    whole,
)
from search_spaces.graphs import operators as ops

Array = NDArray[Any]
Value = MapView | Array
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class CodedConstant:
    """Weights that a file holds as codes.

    Attributes:
        codes: Whole numbers, less their zero point.
        scale: What one of them counts: one number, or one for each index of `axis`.
    """

    codes: NDArray[np.int64]
    scale: NDArray[np.float32]
    axis: int


@dataclass(slots=True)
class Reader:
    """A file being read.

    Attributes:
        values: By ONNX name: arrays that are known, and views of maps.
        names: What nodes with an array of this name are to be called.
        coded: The arrays that the file holds as codes, by the name of their numbers.
        notes: What was left out or changed.
        written: The values that the file itself has, before it was simplified.
        last_softmax: The node that only turns the outputs into shares.
    """

    draft: Draft
    opset: int
    values: dict[str, Value] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    coded: dict[str, CodedConstant] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    written: frozenset[str] = frozenset()
    last_softmax: str = ""

    def note(self, said: str) -> None:
        self.notes[said] = None

    def origin(self, node: NodeProto, value: str | None = None) -> Origin:
        """Returns where what is made of a node comes from; `value` is what its map is."""
        name = node.name or node.output[0]
        named = next((self.names[each] for each in node.input if each in self.names), "")
        given = node.output[0] if value is None else value
        return Origin(name, node.op_type, given, named or name.removeprefix("node_"))

    def fails(self, node: NodeProto, rule: str) -> NoReturn:
        """Raises UnreadableError, naming the node."""
        raise UnreadableError(f"{self.origin(node)} {rule}")

    # What a node reads

    def has(self, node: NodeProto, index: int) -> bool:
        return len(node.input) > index and node.input[index] != ""

    def is_constant(self, node: NodeProto, index: int) -> bool:
        return not isinstance(self.values[node.input[index]], MapView)

    def view(self, node: NodeProto, index: int = 0) -> MapView:
        """Returns an input that is computed from the network's."""
        value = self.values[node.input[index]]
        if not isinstance(value, MapView):
            self.fails(
                node,
                f"computes on the constant {node.input[index]!r}, where the network's own "
                "numbers belong; export the network with its input traced through it",
            )
        return value

    def constant(self, node: NodeProto, index: int) -> Array:
        """Returns an input that is known when the file is read."""
        value = self.values[node.input[index]]
        if isinstance(value, MapView):
            self.fails(
                node,
                f"takes {node.input[index]!r} from a map, and only constants are read there; "
                "weights and sizes that depend on the picture have no operator here",
            )
        return value

    def optional(self, node: NodeProto, index: int) -> Array | None:
        return self.constant(node, index) if self.has(node, index) else None

    # What a node gives

    def put(self, node: NodeProto, value: Value, index: int = 0) -> None:
        if len(node.output) > index and node.output[index]:
            self.values[node.output[index]] = value

    def add(
        self,
        node: NodeProto,
        operator: Any,  # noqa: ANN401  (an operator or a piece)
        *inputs: str,
        arrays: Mapping[str, Array] | None = None,
        is_result: bool = True,
    ) -> str:
        """Adds a node to the draft and returns its name.

        Args:
            is_result: Whether its map holds the numbers of the ONNX node's first output.
        """
        origin = self.origin(node, None if is_result else "")
        return self.draft.add(operator, inputs, origin, arrays)

    def name_value(self, name: str, value: str) -> None:
        """Says which ONNX value a map of the draft holds."""
        node = self.draft.nodes[name]
        self.draft.nodes[name] = replace(node, origin=replace(node.origin, value=value))

    # Maps in order

    def map(self, node: NodeProto, view: MapView) -> str:
        """Returns the map whose (C, H, W), in order, is the value (1, C, H, W)."""
        if view.is_in_order and view.positions.shape[1:] == view.shape:
            return view.map
        view = self.picture(node, view)
        picked = selection(view)
        if picked is None:
            self.fails(
                node,
                "reads numbers in an order that mixes channels and pixels (a reshape or transpose "
                "before it), which no operator here makes",
            )
        name = self.spatial(node, view, picked.rows, picked.columns)
        return self.channels(node, name, picked.channels)

    def picture(self, node: NodeProto, view: MapView) -> MapView:
        """Returns a value as (1, C, H, W): a vector is a pixel, and a sequence (1, C, T) a row."""
        shape = view.positions.shape
        if len(shape) == 3 and shape[0] == 1:
            return view.moved(view.positions[:, :, None, :])
        if len(shape) == 2 and shape[0] == 1:
            return view.moved(view.positions[:, :, None, None])
        if len(shape) != 4 or shape[0] != 1:
            self.fails(
                node,
                f"reads a value of shape {list(shape)}, where one of 4 axes of one picture "
                "(1, C, H, W) is needed",
            )
        return view

    def spatial(
        self, node: NodeProto, view: MapView, rows: tuple[int, ...], columns: tuple[int, ...]
    ) -> str:
        """Returns the map with these rows and columns alone."""
        (_, height, width), name = view.shape, view.map
        (top, rows, bottom), (left, columns, right) = inner(rows), inner(columns)
        steps = [progression(each) for each in (rows, columns)]
        if None in steps:
            self.fails(
                node, "reads rows or columns of a map in an order that is no crop or stride"
            )
        (row, down), (column, across) = (step for step in steps if step)
        spans = (
            height - (len(rows) - 1) * down,
            width - (len(columns) - 1) * across,
        )
        if len(rows) == 1:
            down = 1
        if len(columns) == 1:
            across = 1
        if (row, column) == (0, 0) and spans[0] <= down and spans[1] <= across:
            if (down, across) != (1, 1):
                name = self.add(node, ops.MaxPool((1, 1), (down, across)), name, is_result=False)
        elif (len(rows), len(columns)) != (height, width):
            name = self.crop(node, name, (row, column), spans, (down, across))
        if any((top, left, bottom, right)):
            name = self.add(node, Border(top, left, bottom, right), name, is_result=False)
        return name

    def crop(
        self, node: NodeProto, name: str, first: ops.Size, window: ops.Size, stride: ops.Size
    ) -> str:
        """Returns the map from a pixel on, picked by a depthwise convolution with a single one."""
        channels = self.draft.shape(name)[0]
        weight = np.zeros((channels, 1, *window), np.float32)
        weight[:, 0, first[0], first[1]] = 1
        self.note(f"{self.origin(node)}: a crop is a depthwise convolution of zeros and a one")
        operator = ops.Conv2d(
            channels, window, stride, (0, 0), groups=channels, norm="none", activation="none"
        )
        return self.add(node, operator, name, arrays={"weight": weight}, is_result=False)

    def channels(self, node: NodeProto, name: str, picked: tuple[int, ...]) -> str:
        """Returns the map with these channels alone, in this order."""
        count = self.draft.shape(name)[0]
        if picked == tuple(range(count)):
            return name
        step = progression(picked)
        if step and step[1] == 1:
            split = ops.ChannelSplit(step[0], step[0] + len(picked))
            return self.add(node, split, name, is_result=False)
        if groups := shuffle_groups(picked) if len(picked) == count else None:
            return self.add(node, ops.ChannelShuffle(groups), name, is_result=False)
        if step and count % step[1] == 0 and len(picked) == count // step[1]:
            # Every so many channels: next to each other once they are shuffled.
            shuffle = ops.ChannelShuffle(count // step[1])
            name = self.add(node, shuffle, name, is_result=False)
            split = ops.ChannelSplit(step[0] * len(picked), (step[0] + 1) * len(picked))
            return self.add(node, split, name, is_result=False)
        weight = np.zeros((len(picked), count, 1, 1), np.float32)
        for index, channel in enumerate(picked):
            if channel != ZERO:
                weight[index, channel] = 1
        self.note(
            f"{self.origin(node)}: channels picked, reordered or filled with zeros are a 1x1 "
            "convolution of zeros and ones"
        )
        operator = ops.Conv2d(len(picked), norm="none", activation="none")
        return self.add(node, operator, name, arrays={"weight": weight}, is_result=False)

    def settled(self, node: NodeProto, view: MapView) -> MapView:
        """Returns the same value as all of a map, each number of it once."""
        if view.is_whole:
            return view
        if view.positions.ndim == 4 and selection(view) is None:  # channels last?
            first = view.moved(view.positions.transpose(CHANNELS_FIRST))
            made = whole_of(self, self.map(node, first))
            return made.moved(made.positions.transpose(CHANNELS_LAST))
        return whole_of(self, self.map(node, view), view.positions.shape)


def whole_of(reader: Reader, name: str, as_shape: tuple[int, ...] | None = None) -> MapView:
    """Returns all of a map of the draft, as (1, C, H, W) or another shape."""
    return whole(name, reader.draft.shape(name), as_shape)


def inner(picked: tuple[int, ...]) -> tuple[int, tuple[int, ...], int]:
    """Returns the zeros before, what is picked, and the zeros behind."""
    real = [index for index, each in enumerate(picked) if each != ZERO]
    if not real:
        return 0, picked, 0
    return real[0], picked[real[0] : real[-1] + 1], len(picked) - real[-1] - 1


def attributes(node: NodeProto) -> dict[str, Any]:
    """Returns a node's attributes by name; texts as `str`."""
    found = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in found.items()
    }
