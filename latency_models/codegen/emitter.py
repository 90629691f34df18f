"""Emitting kernels: TVM functions over raw pointers, written with TVMScript's builder.

The builder is what the TVMScript parser calls; calling it directly takes 1-2 ms a kernel instead
of 25 ms, and lets a tile be ordinary Python loops. Accumulators are one small buffer each, which
LLVM keeps in registers; one buffer over 1024 bytes would be put on the heap.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from latency_models.devices.cpu import VectorUnit
from latency_models.devices.lazy import LazyModule

T: Any = LazyModule("tvm.tirx.script.builder")  # its name everywhere in TVM
ir: Any = LazyModule("tvm.ir")
ir_builder: Any = LazyModule("tvm.script.ir_builder")
tirx: Any = LazyModule("tvm.tirx")
KERNEL_ATTRIBUTE = "hwnas.kernel"
WHOLE_MEMORY = 1 << 30  # kernels address raw memory; the true extent is the memory plan's

Expr = Any  # tvm expressions and buffers are untyped
Buffer = Any


def emit_function(
    names: Sequence[str],
    body: Callable[..., None],
    numbers: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
) -> Any:  # noqa: ANN401
    """Returns a function of pointers and int32 numbers.

    ``body`` gets one flat buffer for each name, then the numbers. ``types`` tells what the
    pointers point to where that is not float32.
    """
    kinds = {name: (types or {}).get(name, "float32") for name in names}
    with ir_builder.IRBuilder() as made:
        with T.prim_func(s_tir=True, private=True):
            # TVM tags what a parameter points to as memory of its own, and LLVM, having put two
            # kernels into one function, would move one's loads above the other's stores. A bound
            # pointer of a function without "tirx.noalias" may be the same as any other.
            T.func_attr({KERNEL_ATTRIBUTE: 1})
            parameters = [T.arg(name, pointer(name, kinds[name])) for name in names]
            counts = [T.arg(name, tirx.Var(name, "int32")) for name in numbers]
            pointers = [T.bind(parameter) for parameter in parameters]
            buffers = [
                T.decl_buffer((WHOLE_MEMORY,), kind, data=p, align=type_bytes(kind))
                for p, kind in zip(pointers, kinds.values(), strict=True)
            ]
            aligned = dict(zip(pointers, map(type_bytes, kinds.values()), strict=True))
            with T.attr(0, "pragma_import_llvm", MASKS), unaligned(list(aligned.items())):
                body(*buffers, *counts)
        return made.get()


def pointer(name: str, kind: str) -> Any:  # noqa: ANN401
    return tirx.Var(name, ir.PointerType(ir.PrimType(kind), "global"))


def type_bytes(kind: str) -> int:
    return {"float32": 4, "int32": 4, "uint32": 4, "uint16": 2, "uint8": 1, "int8": 1}[kind]


@contextmanager
def unaligned(pointers: Sequence[tuple[Expr, int]]) -> Iterator[None]:
    """States that a view may begin at any element; TVM assumes full vectors otherwise."""
    if not pointers:
        yield
        return
    (first, alignment), rest = pointers[0], pointers[1:]
    with T.attr(first, "storage_alignment", alignment), unaligned(rest):
        yield


def mask_functions(lanes: int) -> str:
    """LLVM code of functions that give one bit a lane: whether x >= y, whether x is negative.

    TVM has no way to turn a vector of truths into an integer, which is two instructions.
    """
    bits = max(8, lanes)
    widen = f"zext i{lanes} %m to i{bits}" if bits > lanes else f"bitcast i{lanes} %m to i{bits}"
    real, whole = f"<{lanes} x float>", f"<{lanes} x i32>"
    heads = {
        f"at_least{lanes}({real} %x, {real} %y)": f"fcmp oge {real} %x, %y",
        f"negative{lanes}({whole} %x)": f"icmp slt {whole} %x, zeroinitializer",
    }
    return "".join(
        f"define linkonce_odr i{bits} @hwnas_{head} alwaysinline {{\n"
        f"  %c = {truths}\n"
        f"  %m = bitcast <{lanes} x i1> %c to i{lanes}\n"
        f"  %r = {widen}\n"
        f"  ret i{bits} %r\n}}\n"
        for head, truths in heads.items()
    )


MASKS = "".join(map(mask_functions, (4, 8, 16)))


class Vectors:
    """Vector code for one vector unit."""

    def __init__(self, unit: VectorUnit) -> None:
        self.lanes = unit.lanes
        self.unit = unit

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

    def register(self, kind: str = "float32") -> Buffer:
        return T.alloc_buffer((self.lanes,), kind, scope="local")

    def registers(self, count: int, kind: str = "float32") -> list[Buffer]:
        return [self.register(kind) for _ in range(count)]

    def rounded(self, x: Expr) -> Expr:
        """``x`` as float32 numbers of its own.

        LLVM would join a product and a sum into one instruction that rounds once; the codes that
        are computed from it would differ from machine to machine.
        """
        return T.bind(self.intrinsic("llvm.arithmetic.fence", f"float32x{self.lanes}", x))

    def intrinsic(self, name: str, kind: str, *arguments: Expr) -> Expr:
        """The result, of type ``kind``, of one of LLVM's intrinsics."""
        return T.call_llvm_pure_intrin(kind, name, *arguments)

    def with_sign(self, x: Expr, zero: Expr) -> Expr:
        """``x``, negated where ``zero`` is -0.0."""
        kind = f"uint32x{self.lanes}"
        bits = T.bitwise_xor(T.reinterpret(kind, x), T.reinterpret(kind, zero))
        return T.bind(T.reinterpret(f"float32x{self.lanes}", bits))

    def at_least(self, x: Expr, y: Expr) -> Expr:
        """Whether x >= y: one bit for each lane, in an unsigned integer of at least 8 bits."""
        kind = f"uint{max(8, self.lanes)}"
        return T.bind(T.call_extern(kind, f"hwnas_at_least{self.lanes}", x, y))

    def bit_of(self, x: Expr, bit: int) -> Expr:
        """One bit of each int32 lane, as ``at_least`` gives truths."""
        kind = f"uint{max(8, self.lanes)}"
        sign = T.shift_left(x, T.broadcast(T.int32(31 - bit), self.lanes))
        return T.bind(T.call_extern(kind, f"hwnas_negative{self.lanes}", sign))

    def get(self, register: Buffer) -> Expr:
        return register[self.ramp(0)]

    def put(self, register: Buffer, value: Expr) -> None:
        T.buffer_store(register, value, [self.ramp(0)])

    def store(
        self,
        buffer: Buffer,
        offset: Expr,
        value: Expr,
        valid: Expr | int | None = None,
        kind: str = "float32",
    ) -> None:
        """Writes ``value`` of numbers of ``kind``; with ``valid``, only so many first lanes."""
        if valid is None:
            T.buffer_store(buffer, value, [self.ramp(offset)])
        elif self.unit.masked_stores and kind == "uint8":
            self.store_masked(buffer, offset, self.apart(value), valid)
        elif self.unit.masked_stores:
            self.store_masked(buffer, offset, value, valid)
        else:
            self.store_single(buffer, offset, value, valid, kind)

    def store_masked(self, buffer: Buffer, offset: Expr, value: Expr, valid: Expr | int) -> None:
        mask = T.get_active_lane_mask(f"boolx{self.lanes}", T.int32(0), as_int(valid))
        T.evaluate(T.masked_store(buffer, value, self.ramp(offset), mask))

    def apart(self, value: Expr) -> Expr:
        """Bytes as they are, computed before they are stored.

        LLVM 22 makes one instruction of narrowing and a masked store: on Zen 4 it takes as long
        as 50 others, and with one lane it writes too many bytes.
        """
        as_real = T.reinterpret(f"float32x{self.lanes // 4}", value)
        kept = self.intrinsic("llvm.arithmetic.fence", f"float32x{self.lanes // 4}", as_real)
        return T.bind(T.reinterpret(f"uint8x{self.lanes}", kept))

    def store_single(
        self, buffer: Buffer, offset: Expr, value: Expr, valid: Expr | int, kind: str
    ) -> None:
        whole = self.register(kind)
        self.put(whole, value)
        for lane in range(self.lanes):
            if isinstance(valid, int):
                if lane < valid:
                    T.buffer_store(buffer, whole[lane], [offset + lane])
            else:
                with T.If(valid > lane), T.Then():
                    T.buffer_store(buffer, whole[lane], [offset + lane])

    def decoded(self, buffer: Buffer, offset: Expr, zero: int, step: Expr) -> Expr:
        """The real numbers of a vector of codes in bytes."""
        codes = T.Cast(f"int32x{self.lanes}", buffer[self.ramp(offset)])
        if zero:
            codes = codes - T.broadcast(T.int32(zero), self.lanes)
        return self.rounded(T.Cast(f"float32x{self.lanes}", codes) * step)

    def unpacked(self, words: Sequence[Expr], first: Expr, zero: int, step: Expr) -> Expr:
        """The real numbers of a vector of codes in planes.

        Args:
            words: For each plane, the word of the vector's channels, in every lane.
            first: The bit of the first channel.
        """
        shift = T.Cast(f"uint32x{self.lanes}", T.ramp(first, 1, self.lanes))
        one = T.broadcast(T.uint32(1), self.lanes)
        bits = [T.bitwise_and(T.shift_right(word, shift), one) for word in words]
        codes = [T.Cast(f"int32x{self.lanes}", bit) for bit in bits]
        if len(codes) == 1:
            signs = codes[0] * T.broadcast(T.int32(2), self.lanes)
            code = signs - T.broadcast(T.int32(1), self.lanes)
        else:
            code = sum(
                (c * T.broadcast(T.int32(1 << i), self.lanes) for i, c in enumerate(codes)),
                T.broadcast(T.int32(-zero), self.lanes),
            )
        return self.rounded(T.Cast(f"float32x{self.lanes}", code) * step)

    def only_first(self, mask: Expr, count: Expr | int) -> Expr:
        """The bits of the first ``count`` lanes."""
        kind = f"uint{max(8, self.lanes)}"
        limited = T.min(as_int(count), T.int32(self.lanes))  # a later vector may be the last
        kept = T.shift_left(T.int32(1), limited) - T.int32(1)
        return T.bind(T.bitwise_and(mask, T.Cast(kind, kept)))

    def store_bits(
        self, buffer: Buffer, place: Expr, masks: Sequence[Expr], channel: Expr, channels: int
    ) -> None:
        """Writes masks of adjacent vectors to packed channels, and zeros up to a whole word.

        Args:
            place: Words before the pixel's first channel.
            masks: One for each vector; two of 4 lanes are written as one byte.
            channel: First channel of the first vector: a multiple of 8, or there is but one.
            channels: Channels of the map; zeros follow the last.
        """
        width = max(8, self.lanes)
        start = T.bind(place * (32 // width) + channel // width)
        if self.lanes == 4 and len(masks) == 1:
            masks = [self.half_byte(buffer[start], masks[0], channel)]
        elif self.lanes == 4:
            masks = [
                T.bitwise_or(pair[0], T.shift_left(pair[1], T.Cast("uint8", T.int32(4))))
                if len(pair) > 1
                else pair[0]
                for pair in (masks[i : i + 2] for i in range(0, len(masks), 2))
            ]
        for j, mask in enumerate(masks):
            T.buffer_store(buffer, mask, [start + j])
        written = -(-channels // width)
        missing = -written % (32 // width)
        if missing:
            # Whoever writes the last channels also writes what is left of their word.
            with T.If(channel + len(masks) * width >= channels), T.Then():
                for j in range(missing):
                    zero = T.Cast(f"uint{width}", T.int32(0))
                    T.buffer_store(buffer, zero, [start + len(masks) + j])

    def half_byte(self, byte: Expr, mask: Expr, channel: Expr) -> Expr:
        """``byte`` with the 4 bits of ``channel`` and those after it; clear where they are low."""
        shift = T.bind(channel % 8)
        kept = T.Cast("uint8", T.shift_left(T.int32(1), shift) - 1)
        moved = T.shift_left(mask, T.Cast("uint8", shift))
        return T.bind(T.bitwise_or(T.bitwise_and(byte, kept), moved))

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

    def for_channels(self, channels: int, body: Callable[[Expr, Expr | None], None]) -> None:
        """Calls ``body(first channel, valid lanes)`` for each vector of ``channels``."""
        whole, rest = divmod(channels, self.lanes)
        if rest and whole and self.unit.masked_stores:
            with T.serial(whole + 1) as block:  # one body is compiled in half the time of two
                body(block * self.lanes, channels - block * self.lanes)
            return
        if whole:
            with T.serial(whole) as block:
                body(block * self.lanes, None)
        if rest:
            body(T.int32(whole * self.lanes), rest)

    def fill_run(self, buffer: Buffer, offset: Expr, length: Expr, byte: Expr) -> None:
        """Fills adjacent bytes, a length known only when the kernel is called."""
        size = 4 * self.lanes
        vectors, whole = length // size, length // size * size
        with T.serial(vectors) as i:
            T.buffer_store(buffer, T.broadcast(byte, size), [T.ramp(offset + i * size, 1, size)])
        with T.serial(length - whole) as i:
            T.buffer_store(buffer, byte, [offset + whole + i])

    def gather(self, numbers: Sequence[Expr]) -> Expr:
        """A vector whose first lanes are these numbers, and whose others are zero."""
        register = self.register()
        self.put(register, self.constant(0))
        for lane, number in enumerate(numbers):
            T.buffer_store(register, number, [lane])
        return self.get(register)


def as_int(value: Expr | int) -> Expr:
    return T.int32(value) if isinstance(value, int) else value


@cache
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
