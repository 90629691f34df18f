"""A linear layer of which only the weights that are not zero are stored, and read.

At batch 1 a dense layer takes as long as its weights take to come from memory; 2 bytes of a kept
weight are fewer than 4 of every one. Vectors would have to gather: processors load each lane by
itself then, so single numbers are loaded to begin with. Of shared weights, the table that is
loaded from holds products (``packing``), so that a kept weight is one load and one
addition, on every processor, and no value is looked up.

Sums: of each output, its bias; then, for each block of columns from left to right, the sum of the
block's products from left to right, which begins with zero. Columns are those of the map's pixels
in NHWC order. A weight that is not kept multiplies nothing: an infinite input that it would have
met makes no NaN, as it does in the dense kernel.

*Source:* Han et al., "EIE", ISCA 2016, https://arxiv.org/abs/1602.01528, section 3 (weights as
relative indices and symbols of a codebook); Hegde et al., "UCNN", ISCA 2018,
https://arxiv.org/abs/1804.06508 (products that equal weights share).

*Differs from the papers:* rows are summed side by side in software; indices are not relative but
counted from the block's first column; products are shared by the rows of a panel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, emit_function
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.epilogue_code import EpilogueEmission
from latency_models.kernels.kernel import UntiledKernel
from latency_models.kernels.sparse.packing import (
    GROUP,
    HEAD,
    SparseLayout,
    pack_sparse,
)
from latency_models.kernels.view import View

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SparseLinearKernel(UntiledKernel):
    """A linear layer of a real map with few, and perhaps shared, weights.

    Attributes:
        density: Share of the weights that are kept, at most; the code is the same for all.
        bits: Of a kept weight; 32 for any number.
    """

    source: View
    epilogue: Epilogue
    density: float
    bits: int = 32

    def __post_init__(self) -> None:
        assert self.source.form.kind == "real", self
        assert not self.epilogue.scaled, self
        assert self.epilogue.shape[1:] == (1, 1), self

    @property
    def arguments(self) -> tuple[str, ...]:
        values = () if self.layout.by_products else ("values",)
        return ("source", "weights", "tokens", *values, *self.epilogue.arguments)

    @property
    def target(self) -> View:
        """The first target: all have one shape."""
        return self.epilogue.targets[0]

    @property
    def layout(self) -> SparseLayout:
        channels, height, width = self.source.shape
        return SparseLayout(self.target.channels, channels * height * width, self.bits)

    def types(self, unit: VectorUnit) -> dict[str, str]:
        """TVM's names of what its arguments point to."""
        values = "uint8" if self.layout.symbols else "float32"
        types = {"source": "float32", "weights": "float32", "tokens": "uint16", "values": values}
        return types | self.epilogue.types(unit.lanes)

    def padded_channels(self, unit: VectorUnit) -> int:
        """Output channels, rounded up to whole vectors."""
        return -(-self.target.channels // unit.lanes) * unit.lanes

    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        """For each output channel, its place among the padded ones."""
        return np.arange(self.target.channels)

    def pack(self, weight: Array, bias: Array) -> dict[str, NDArray[Any]]:
        """Returns what it reads for weight (O, C, H, W) and bias (O,), by argument."""
        flat = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        return pack_sparse(self.layout, flat, bias)

    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        return SparseLinearEmission(self, unit).function()


class SparseLinearEmission:
    """One sparse layer being written."""

    def __init__(self, kernel: SparseLinearKernel, unit: VectorUnit) -> None:
        self.kernel, self.layout, self.unit = kernel, kernel.layout, unit
        self.vectors = Vectors(unit)

    def function(self) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of its arguments."""
        return emit_function(self.kernel.arguments, self.emit, types=self.kernel.types(self.unit))

    def emit(self, source: Buffer, weights: Buffer, tokens: Buffer, *rest: Buffer) -> None:
        layout, v = self.layout, self.vectors
        self.source, self.weights, self.tokens = source, weights, tokens
        self.values = None if layout.by_products else rest[0]
        padded = self.kernel.padded_channels(self.unit)
        rest = rest[0 if layout.by_products else 1 :]
        self.end = EpilogueEmission(self.kernel.epilogue, v, padded, rest)
        self.table = T.alloc_buffer((layout.zero + 16,), "float32", scope="local")
        self.sums = T.alloc_buffer((layout.padded_rows + 16,), "float32", scope="local")
        self.at, self.beside = (T.alloc_buffer((1,), "int32", scope="local") for _ in range(2))
        for number in (self.at, self.beside):
            T.buffer_store(number, T.int32(0), [0])
        T.buffer_store(self.table, T.float32(0), [layout.zero])
        with T.serial(layout.panels) as panel:
            first = T.bind(panel * layout.rows)
            rows = T.bind(T.min(layout.outputs - first, T.int32(layout.rows)))
            self.begin_sums(first, rows)
            with T.serial(layout.blocks) as block:
                self.fill_table(T.bind(block * layout.columns))
                self.add_block()
            self.end_sums(first, rows)

    def for_vectors(self, rows: Expr, body: Any) -> None:  # noqa: ANN401
        """Calls ``body`` with the first row of each vector of a panel."""
        lanes = self.unit.lanes
        with T.serial((rows + (lanes - 1)) // lanes) as vector:
            body(T.bind(vector * lanes))

    def begin_sums(self, first: Expr, rows: Expr) -> None:
        """Sets the sums of a panel to its biases."""
        v = self.vectors

        def begin(row: Expr) -> None:
            T.buffer_store(self.sums, v.load(self.weights, first + row), [v.ramp(row)])

        self.for_vectors(rows, begin)

    def fill_table(self, left: Expr) -> None:
        """Writes the numbers of a block of columns, or their products with the codebook."""
        layout, v = self.layout, self.vectors
        count = T.bind(T.min(layout.inputs - left, T.int32(layout.columns)))
        with T.serial(count) as column:
            place = self.place_of(left + column)
            if layout.by_products:
                number = v.load_spread(self.source, place)
                start = T.bind(column * layout.values)
                for symbol in range(0, layout.values, self.unit.lanes):
                    value = v.load(self.weights, T.int32(layout.padded_outputs + symbol))
                    T.buffer_store(self.table, number * value, [v.ramp(start + symbol)])
            else:
                T.buffer_store(self.table, self.source[place], [column])

    def place_of(self, index: Expr) -> Expr:
        """Where a number of the map lies, counted in NHWC order."""
        source = self.kernel.source
        if (source.height, source.width) == (1, 1):
            return index * source.channel_stride
        pixel, channel = index // source.channels, index % source.channels
        y, x = pixel // source.width, pixel % source.width
        place = y * source.row_stride + x * source.pixel_stride
        return T.bind(place + channel * source.channel_stride)

    def add_block(self) -> None:
        """Adds to each row of a panel what it keeps in a block."""
        groups = T.bind(T.Cast("int32", self.tokens[self.at[0]]))
        T.buffer_store(self.at, self.at[0] + 2, [0])
        with T.serial(groups):
            head = T.bind(self.at[0])
            steps = T.bind(T.Cast("int32", self.tokens[head]))
            sums = [T.alloc_buffer((1,), "float32", scope="local") for _ in range(GROUP)]
            for number in sums:
                T.buffer_store(number, T.float32(0), [0])
            with T.serial(steps) as step:
                self.add_step(sums, head, T.bind(step * GROUP))
            for lane, number in enumerate(sums):
                row = T.bind(T.Cast("int32", self.tokens[head + 2 + lane]))
                T.buffer_store(self.sums, self.sums[row] + number[0], [row])
            T.buffer_store(self.at, head + HEAD + steps * GROUP, [0])
            if not self.layout.by_products:
                T.buffer_store(self.beside, self.beside[0] + steps * GROUP, [0])

    def add_step(self, sums: list[Buffer], head: Expr, inside: Expr) -> None:
        """Adds one product to each sum of a group."""
        low = T.uint32(0xFFFF)
        entries: list[Expr] = []
        for lane in range(0, GROUP, 2):  # one load of two tokens: loads are what there is most of
            pair = self.tokens[T.ramp(head + HEAD + inside + lane, 1, 2)]
            both = T.bind(T.reinterpret("uint32", pair))
            entries += [T.bitwise_and(both, low), T.shift_right(both, T.uint32(16))]
        numbers = [self.table[T.Cast("int32", entry)] for entry in entries]
        for lane, (total, number) in enumerate(zip(sums, numbers, strict=True)):
            product = number
            if self.values is not None:
                product = number * self.value(self.beside[0] + inside + lane)
            T.buffer_store(total, total[0] + product, [0])

    def value(self, place: Expr) -> Expr:
        """A weight that is stored beside its token."""
        assert self.values is not None
        stored = self.values[place]
        if not self.layout.symbols:
            return stored
        return self.weights[self.layout.padded_outputs + T.Cast("int32", stored)]

    def end_sums(self, first: Expr, rows: Expr) -> None:
        """Ends and writes the sums of a panel."""
        v, outputs = self.vectors, self.layout.outputs

        def end(row: Expr) -> None:
            channel = T.bind(first + row)
            result = T.bind(self.sums[v.ramp(row)])
            valid = T.bind(outputs - channel) if outputs % v.lanes else None
            self.end.finish(T.int32(0), T.int32(0), {(0, 0): [result]}, channel, channel, valid)

        self.for_vectors(rows, end)
