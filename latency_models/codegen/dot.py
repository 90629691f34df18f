"""Dot products of four: what each instruction set offers to sum products of small integers.

Every kind adds to each int32 lane the exact sum of four products of unsigned 8-bit codes by signed
weights. None of them saturates: vpmaddubsw would, and is not used.

Weights lie in memory as bytes, four of each lane; 4-bit ones two to a byte: those of one step in
the low halves of the bytes, those of the next in the high ones. Both become operands in registers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from latency_models.codegen.emitter import Buffer, Expr, T, Vectors, tirx
from latency_models.devices.cpu import Dot as DotName
from latency_models.devices.cpu import VectorUnit

STEP = 4  # products of one lane
Operand = Any  # a vector, or several


class Dot(ABC):
    """Products of four codes by four weights in every lane.

    Attributes:
        bias: What codes are lessened by before they are multiplied.
        shift: How many bits to the left sums of 4-bit weights come out.
        lane_first: Whether the four weights of a lane are adjacent.
        registers: Vector registers that an operand takes.
        cycles: Of one vector of weights by one of codes, about, to rank tiles by.
        unpack_cycles: Of making an operand.
    """

    bias: ClassVar[int] = 0
    shift: ClassVar[int] = 0
    lane_first: ClassVar[bool] = True
    registers: ClassVar[int] = 1
    cycles: ClassVar[float] = 1
    unpack_cycles: ClassVar[float] = 0

    def __init__(self, vectors: Vectors) -> None:
        self.v, self.lanes = vectors, vectors.lanes

    @property
    def bytes(self) -> int:
        """Bytes of 8-bit weights of one vector."""
        return STEP * self.lanes

    def load(self, buffer: Buffer, offset: Expr) -> Expr:
        return T.bind(buffer[T.ramp(offset, 1, self.bytes)])

    def spread(self, buffer: Buffer, offset: Expr) -> Operand:
        """Four adjacent codes in every lane."""
        word = T.reinterpret("int32", buffer[T.ramp(offset, 1, STEP)])
        return self.codes(T.bind(T.broadcast(word, self.lanes)))

    @abstractmethod
    def codes(self, words: Expr) -> Operand:
        """Makes an operand of int32 lanes that hold four codes each."""

    @abstractmethod
    def weights(self, packed: Expr) -> Operand:
        """Makes an operand of a vector of bytes."""

    @abstractmethod
    def halves(self, packed: Expr) -> tuple[Operand, Operand]:
        """Makes operands of the low and the high halves of a vector of bytes."""

    @abstractmethod
    def add(self, total: Expr, codes: Operand, weights: Operand) -> Expr:
        """The int32 ``total`` plus the four products of each lane."""

    def words(self, value: int) -> Expr:
        return T.broadcast(T.int32(value), self.lanes)


class VnniDot(Dot):
    """AVX512-VNNI and AVX-VNNI: one instruction."""

    shift = 4  # the halves are moved to the top of their bytes, where they have their sign

    def codes(self, words: Expr) -> Operand:
        return self.bytes_of(words)

    def weights(self, packed: Expr) -> Operand:
        return packed

    def halves(self, packed: Expr) -> tuple[Operand, Operand]:
        words, top = T.reinterpret(f"int32x{self.lanes}", packed), self.words(-0x0F0F0F10)
        low = T.bitwise_and(T.shift_left(words, self.words(4)), top)
        return self.bytes_of(low), self.bytes_of(T.bitwise_and(words, top))

    def add(self, total: Expr, codes: Operand, weights: Operand) -> Expr:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return self.v.intrinsic(name, f"int32x{self.lanes}", total, codes, weights)

    def bytes_of(self, words: Expr) -> Expr:
        return T.bind(T.reinterpret(f"int8x{self.bytes}", words))


class LongVnniDot(VnniDot):
    """The same for sums that have no bits to spare: 4-bit weights as they are, in more steps."""

    shift = 0
    unpack_cycles = 1

    def halves(self, packed: Expr) -> tuple[Operand, Operand]:
        words = T.reinterpret(f"uint32x{self.lanes}", packed)
        low = T.broadcast(T.uint32(0x0F0F0F0F), self.lanes)
        shifted = T.shift_right(words, T.broadcast(T.uint32(4), self.lanes))
        return self.small(T.bitwise_and(words, low)), self.small(T.bitwise_and(shifted, low))

    def small(self, words: Expr) -> Expr:
        """Bytes of which the fourth bit is the sign."""
        sign = T.broadcast(T.int8(8), self.bytes)
        return T.bind(T.bitwise_xor(self.bytes_of(words), sign) - sign)


class PairDot(Dot):
    """SSE2, AVX2, AVX512: two products of 16 bits at once; even and odd bytes apart."""

    registers = 2
    cycles = 4
    unpack_cycles = 2
    names: ClassVar = {
        4: "llvm.x86.sse2.pmadd.wd",
        8: "llvm.x86.avx2.pmadd.wd",
        16: "llvm.x86.avx512.pmaddw.d.512",
    }

    def codes(self, words: Expr) -> Operand:
        even = T.bitwise_and(words, self.words(0x00FF00FF))
        odd = T.shift_right(self.pairs(words, "uint16"), self.bits(8, "uint16"))
        return T.bind(self.pairs(even)), T.bind(self.pairs(odd))

    def weights(self, packed: Expr) -> Operand:
        pairs = self.pairs(packed)
        return self.field(pairs, 8, 8), self.field(pairs, 0, 8)

    def halves(self, packed: Expr) -> tuple[Operand, Operand]:
        pairs = self.pairs(packed)
        low = self.field(pairs, 12, 12), self.field(pairs, 4, 12)
        return low, (self.field(pairs, 8, 12), self.field(pairs, 0, 12))

    def add(self, total: Expr, codes: Operand, weights: Operand) -> Expr:
        kind = f"int32x{self.lanes}"
        for pair in zip(codes, weights, strict=True):
            total = total + self.v.intrinsic(self.names[self.lanes], kind, *pair)
        return total

    def pairs(self, value: Expr, kind: str = "int16") -> Expr:
        return T.reinterpret(f"{kind}x{2 * self.lanes}", value)

    def bits(self, count: int, kind: str = "int16") -> Expr:
        return T.broadcast(T.Cast(kind, T.int32(count)), 2 * self.lanes)

    def field(self, pairs: Expr, left: int, right: int) -> Expr:
        """Some bits of each 16-bit lane, with their sign: up to the top and down again."""
        moved = T.shift_left(pairs, self.bits(left)) if left else pairs
        return T.bind(T.shift_right(moved, self.bits(right)))


class NeonDot(Dot):
    """NEON with dotprod: signed codes."""

    bias = 128
    unpack_cycles = 1

    def codes(self, words: Expr) -> Operand:
        flipped = T.bitwise_xor(words, self.words(-0x7F7F7F80))
        return T.bind(T.reinterpret(f"int8x{self.bytes}", flipped))

    def weights(self, packed: Expr) -> Operand:
        return signed(packed, self.bytes)

    def halves(self, packed: Expr) -> tuple[Operand, Operand]:
        return low_half(packed, self.bytes), high_half(packed, self.bytes)

    def add(self, total: Expr, codes: Operand, weights: Operand) -> Expr:
        kind = f"int32x{self.lanes}"
        return self.v.intrinsic("llvm.aarch64.neon.sdot", kind, total, codes, weights)


class SingleDot(Dot):
    """Plain multiplication of 16-bit numbers, a channel at a time, as NEON's smlal does it.

    A vector of bytes is two, of two channels each.
    """

    lane_first = False
    registers = 2
    cycles = 4
    unpack_cycles = 2

    def load(self, buffer: Buffer, offset: Expr) -> Operand:
        many = 2 * self.lanes
        return [T.bind(buffer[T.ramp(offset + k * many, 1, many)]) for k in range(2)]

    def spread(self, buffer: Buffer, offset: Expr) -> Operand:
        codes = T.bind(T.Cast(f"int16x{STEP}", buffer[T.ramp(offset, 1, STEP)]))
        return [self.part(codes, [k] * self.lanes) for k in range(STEP)]

    def codes(self, words: Expr) -> Operand:
        wide = T.bind(T.Cast(f"int16x{self.bytes}", T.reinterpret(f"uint8x{self.bytes}", words)))
        return [self.part(wide, range(k, self.bytes, STEP)) for k in range(STEP)]

    def weights(self, packed: Operand) -> Operand:
        return self.channels([signed(two, 2 * self.lanes) for two in packed])

    def halves(self, packed: Operand) -> tuple[Operand, Operand]:
        low, high = (
            self.channels([half(two, 2 * self.lanes) for two in packed])
            for half in (low_half, high_half)
        )
        return low, high

    def channels(self, packed: Sequence[Expr]) -> Operand:
        lanes = self.lanes
        wide = [T.bind(T.Cast(f"int16x{2 * lanes}", two)) for two in packed]
        return [
            self.part(two, range(first, first + lanes)) for two in wide for first in (0, lanes)
        ]

    def part(self, vector: Expr, lanes: Sequence[int]) -> Expr:
        return T.bind(tirx.Shuffle([vector], list(lanes)))

    def add(self, total: Expr, codes: Operand, weights: Operand) -> Expr:
        kind = f"int32x{self.lanes}"
        for code, weight in zip(codes, weights, strict=True):
            total = total + T.Cast(kind, code) * T.Cast(kind, weight)
        return total


def signed(packed: Expr, count: int) -> Expr:
    return T.reinterpret(f"int8x{count}", packed)


def low_half(packed: Expr, count: int) -> Expr:
    """The lower four bits of each byte, with their sign."""
    four = T.broadcast(T.int8(4), count)
    return T.bind(T.shift_right(T.shift_left(signed(packed, count), four), four))


def high_half(packed: Expr, count: int) -> Expr:
    """The upper four bits of each byte, with their sign."""
    return T.bind(T.shift_right(signed(packed, count), T.broadcast(T.int8(4), count)))


KINDS: dict[DotName, type[Dot]] = {
    "vpdpbusd": VnniDot,
    "pmaddwd": PairDot,
    "sdot": NeonDot,
    "multiply": SingleDot,
}


def dot_kind(unit: VectorUnit, largest_half_sum: int = 0) -> type[Dot]:
    """Returns what sums products on ``unit``.

    Args:
        largest_half_sum: Bound of the magnitude of sums of products with 4-bit weights.
    """
    kind = KINDS[unit.dot]
    if largest_half_sum << kind.shift >= 1 << 31:
        assert kind is VnniDot
        return LongVnniDot
    return kind


def instruction(unit: VectorUnit) -> str:
    """The name of what multiplies, as the assembly has it."""
    if unit.dot == "multiply":
        return "smlal" if unit.name == "neon" else ""
    vex = unit.dot == "pmaddwd" and unit.lanes > 4
    return "vpmaddwd" if vex else unit.dot
