"""Emitting kernels: TVM functions over raw pointers, written with TVMScript's builder.

The builder is what the TVMScript parser calls; calling it directly takes 1-2 ms a kernel instead
of 25 ms, and lets a tile be ordinary Python loops. Accumulators are one small buffer each, which
LLVM keeps in registers; one buffer over 1024 bytes would be put on the heap.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder

from latency_models.kernels.cpu import VectorUnit
from search_spaces.operators import Activation

T = builder  # its name everywhere in TVM
KERNEL_ATTRIBUTE = "hwnas.kernel"
WHOLE_MEMORY = 1 << 30  # kernels address raw memory; the true extent is the memory plan's

Expr = Any  # tvm expressions and buffers are untyped
Buffer = Any


def emit_function(
    names: Sequence[str], body: Callable[..., None], numbers: Sequence[str] = ()
) -> Any:  # noqa: ANN401
    """Returns a function of float32 pointers and int32 numbers.

    ``body`` gets one flat buffer for each name, then the numbers.
    """
    with IRBuilder() as made:
        with T.prim_func(s_tir=True, private=True):
            # TVM tags what a parameter points to as memory of its own, and LLVM, having put two
            # kernels into one function, would move one's loads above the other's stores. A bound
            # pointer of a function without "tirx.noalias" may be the same as any other.
            T.func_attr({KERNEL_ATTRIBUTE: 1})
            parameters = [T.arg(name, pointer(name)) for name in names]
            counts = [T.arg(name, tirx.Var(name, "int32")) for name in numbers]
            pointers = [T.bind(parameter) for parameter in parameters]
            buffers = [
                T.decl_buffer((WHOLE_MEMORY,), "float32", data=p, align=4) for p in pointers
            ]
            with unaligned(pointers):
                body(*buffers, *counts)
        return made.get()


def pointer(name: str) -> Any:  # noqa: ANN401
    return tirx.Var(name, ir.PointerType(ir.PrimType("float32"), "global"))


@contextmanager
def unaligned(pointers: Sequence[Expr]) -> Iterator[None]:
    """States that a view may begin at any number; TVM assumes full vectors otherwise."""
    if not pointers:
        yield
        return
    with T.attr(pointers[0], "storage_alignment", 4), unaligned(pointers[1:]):
        yield


class Vectors:
    """Vector code for one vector unit."""

    def __init__(self, unit: VectorUnit) -> None:
        self.lanes = unit.lanes
        self._unit = unit

    def constant(self, value: float) -> Expr:
        return T.broadcast(T.float32(value), self.lanes)

    def load(self, buffer: Buffer, offset: Expr) -> Expr:
        return T.bind(buffer[self.ramp(offset)])

    def load_spread(self, buffer: Buffer, offset: Expr) -> Expr:
        """One number of memory in every lane."""
        return T.bind(T.broadcast(buffer[offset], self.lanes))

    def prefetch(self, buffer: Buffer, offset: Expr) -> None:
        """Asks for the cache line at ``offset``, which may lie anywhere."""
        arguments = [T.address_of(buffer[offset]), *map(T.int32, (0, 2, 1))]
        T.evaluate(ir.Call("tirx.prefetch", arguments, ret_ty="void"))

    def ramp(self, offset: Expr) -> Expr:
        return T.ramp(offset, 1, self.lanes)

    def register(self) -> Buffer:
        return T.alloc_buffer((self.lanes,), "float32", scope="local")

    def registers(self, count: int) -> list[Buffer]:
        return [self.register() for _ in range(count)]

    def get(self, register: Buffer) -> Expr:
        return register[self.ramp(0)]

    def put(self, register: Buffer, value: Expr) -> None:
        T.buffer_store(register, value, [self.ramp(0)])

    def store(self, buffer: Buffer, offset: Expr, value: Expr, valid: Expr | None = None) -> None:
        """Writes ``value``; with ``valid``, only that many of the first lanes (at most all)."""
        if valid is None:
            T.buffer_store(buffer, value, [self.ramp(offset)])
        elif self._unit.masked_stores:
            mask = T.get_active_lane_mask(f"boolx{self.lanes}", T.int32(0), as_int(valid))
            T.evaluate(T.masked_store(buffer, value, self.ramp(offset), mask))
        else:
            whole = self.register()
            self.put(whole, value)
            for lane in range(self.lanes):
                if isinstance(valid, int):
                    if lane < valid:
                        T.buffer_store(buffer, whole[lane], [offset + lane])
                else:
                    with T.If(valid > lane), T.Then():
                        T.buffer_store(buffer, whole[lane], [offset + lane])

    def activate(self, name: Activation, x: Expr) -> Expr:
        if name == "relu":
            return T.max(x, self.constant(0))
        if name == "relu6":
            return self.clip(x, 6)
        if name == "hardsigmoid":
            return self.clip(x * self.constant(1 / 6) + self.constant(0.5), 1)
        if name == "hardswish":
            return x * self.clip(x * self.constant(1 / 6) + self.constant(0.5), 1)
        assert name == "none", name
        return x

    def transpose(self, rows: Sequence[Expr]) -> list[Expr]:
        """Returns as many vectors as there are lanes: the i-th has lane i of every row.

        Interleaving row i with row i + n / 2, for all i, and that log2(n) times.
        """
        half = self.lanes // 2
        low = [lane // 2 + (lane % 2) * self.lanes for lane in range(self.lanes)]
        high = [lane + half for lane in low]
        vectors = list(rows)
        assert len(vectors) == self.lanes
        for _ in range(half.bit_length()):
            vectors = [
                T.bind(tirx.Shuffle([vectors[i], vectors[i + half]], lanes))
                for i in range(half)
                for lanes in (low, high)
            ]
        return vectors

    def clip(self, x: Expr, high: float) -> Expr:
        return T.min(T.max(x, self.constant(0)), self.constant(high))

    def for_channels(self, channels: int, body: Callable[[Expr, Expr | None], None]) -> None:
        """Calls ``body(first channel, valid lanes)`` for each vector of ``channels``."""
        whole, rest = divmod(channels, self.lanes)
        if rest and whole and self._unit.masked_stores:
            with T.serial(whole + 1) as block:  # one body is compiled in half the time of two
                body(block * self.lanes, channels - block * self.lanes)
            return
        if whole:
            with T.serial(whole) as block:
                body(block * self.lanes, None)
        if rest:
            body(T.int32(whole * self.lanes), rest)

    def zero_run(self, buffer: Buffer, offset: Expr, length: Expr) -> None:
        """Zeroes ``length`` adjacent numbers, a length known only when the kernel is called."""
        vectors, whole = length // self.lanes, length // self.lanes * self.lanes
        with T.serial(vectors) as i:
            self.store(buffer, offset + i * self.lanes, self.constant(0))
        with T.serial(length - whole) as i:
            T.buffer_store(buffer, T.float32(0), [offset + whole + i])


def as_int(value: Expr | int) -> Expr:
    return T.int32(value) if isinstance(value, int) else value


def split_evenly(total: int, largest: int) -> tuple[tuple[int, int, int], ...]:
    """Cuts ``total`` into the fewest parts of at most ``largest``, as equal as can be.

    Returns (first, count, size) for each run of equal parts: at most two runs.
    """
    parts = -(-total // largest)
    size, larger = divmod(total, parts)
    runs = ((0, larger, size + 1), (larger * (size + 1), parts - larger, size))
    return tuple(run for run in runs if run[1])


def for_parts(
    runs: Sequence[tuple[int, int, int]], body: Callable[[Expr, int, Expr], None]
) -> None:
    """Loops over the parts of ``split_evenly``: ``body(first, size, index of the part)``."""
    done = 0
    for first, count, size in runs:
        if count == 1:
            body(T.int32(first), size, T.int32(done))
        else:
            with T.serial(count) as i:
                body(first + i * size, size, done + i)
        done += count
