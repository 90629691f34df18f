"""Dot products of four: what each instruction set offers to sum products of small integers.

Every kind adds to each int32 lane the exact sum of four products of unsigned 8-bit codes by signed
weights. None of them saturates: vpmaddubsw would, and is not used.

Weights lie in memory as bytes, four adjacent ones to a lane, whatever the instruction; 4-bit ones
two to a byte: those of one step in the low halves of the bytes, those of the next in the high
ones. Both become operands in registers.
"""

from abc import abstractmethod
from typing import ClassVar

from latency_models.kernels.emitter import Buffer, Expr, T, Vectors

STEP = 4  # products of one lane


class Dot:
    """Products of four codes by four weights in every lane.

    Attributes:
        instruction: The name of what multiplies, as the assembly has it.
        bias: What codes are changed by before they are multiplied.
        shift: How many bits to the left sums of 4-bit weights come out.
        cycles: Of one vector of weights by one of codes, about, to rank tiles by.
        unpack_cycles: Of making operands of one vector, of codes or of weights.
        registers: Vector registers that one operand takes.
    """

    instruction: ClassVar[str]
    bias: ClassVar[int] = 0
    shift: ClassVar[int] = 0
    cycles: ClassVar[float] = 1
    unpack_cycles: ClassVar[float] = 0
    registers: ClassVar[int] = 1
    lane_first: ClassVar[bool] = True  # whether a lane's four weights are adjacent

    def __init__(self, vectors: Vectors) -> None:
        self.v, self.lanes = vectors, vectors.lanes

    @property
    def bytes(self) -> int:
        """Bytes of weights of one vector of one step."""
        return STEP * self.lanes

    def load(self, buffer: Buffer, offset: Expr) -> Expr:
        """A vector of bytes."""
        return T.bind(buffer[T.ramp(offset, 1, self.bytes)])

    def spread(self, buffer: Buffer, offset: Expr) -> Expr:
        """Four adjacent codes in every lane, as an operand."""
        word = T.reinterpret("int32", buffer[T.ramp(offset, 1, STEP)])
        return self.codes(T.bind(T.broadcast(word, self.lanes)))

    @abstractmethod
    def codes(self, words: Expr) -> Expr:
        """Makes an operand of int32 lanes that hold four codes each."""

    @abstractmethod
    def weights(self, packed: Expr) -> Expr:
        """Makes an operand of a vector of bytes."""

    @abstractmethod
    def halves(self, packed: Expr) -> tuple[Expr, Expr]:
        """Makes operands of the low and the high halves of a vector of bytes."""

    @abstractmethod
    def add(self, total: Expr, codes: Expr, weights: Expr) -> Expr:
        """The int32 ``total`` plus the four products of each lane."""

    def words(self, value: int) -> Expr:
        return T.broadcast(T.int32(value), self.lanes)

    def as_bytes(self, words: Expr) -> Expr:
        return T.reinterpret(f"int8x{self.bytes}", words)

    def as_words(self, packed: Expr) -> Expr:
        return T.reinterpret(f"int32x{self.lanes}", packed)


class FourProducts(Dot):
    """AVX512-VNNI and AVX-VNNI: one instruction."""

    instruction = "vpdpbusd"
    shift = 4  # the halves are moved to the top of their bytes, where they have a sign

    def codes(self, words: Expr) -> Expr:
        return T.bind(self.as_bytes(words))

    def weights(self, packed: Expr) -> Expr:
        return packed

    def halves(self, packed: Expr) -> tuple[Expr, Expr]:
        words, top = self.as_words(packed), self.words(-0x0F0F0F10)
        low = T.bitwise_and(T.shift_left(words, self.words(4)), top)
        return T.bind(self.as_bytes(low)), T.bind(self.as_bytes(T.bitwise_and(words, top)))

    def add(self, total: Expr, codes: Expr, weights: Expr) -> Expr:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        return self.v.intrinsic(name, f"int32x{self.lanes}", total, codes, weights)


class TwoProducts(Dot):
    """SSE2, AVX2, AVX512: two products of 16 bits at once; even and odd bytes apart."""

    instruction = "pmaddwd"
    cycles = 4
    unpack_cycles = 2
    registers = 2
    NAMES: ClassVar = {
        4: "llvm.x86.sse2.pmadd.wd",
        8: "llvm.x86.avx2.pmadd.wd",
        16: "llvm.x86.avx512.pmaddw.d.512",
    }

    def codes(self, words: Expr) -> Expr:
        pairs = self.pairs(words)
        even = T.bitwise_and(words, self.words(0x00FF00FF))
        odd = T.shift_right(T.reinterpret(pairs.ty.dtype.replace("int", "uint"), pairs), 8)
        return T.bind(self.pairs(even)), T.bind(odd)

    def pairs(self, words: Expr) -> Expr:
        return T.reinterpret(f"int16x{2 * self.lanes}", words)

    def signed(self, pairs: Expr, left: int, right: int) -> Expr:
        """Moves some bits of each 16-bit lane to the top, and back down with their sign."""
        many = 2 * self.lanes

        def by(bits: int) -> Expr:
            return T.broadcast(T.Cast("int16", T.int32(bits)), many)

        moved = T.shift_left(pairs, by(left)) if left else pairs
        return T.bind(T.shift_right(moved, by(right)))

    def weights(self, packed: Expr) -> Expr:
        pairs = self.pairs(packed)
        return self.signed(pairs, 8, 8), self.signed(pairs, 0, 8)

    def halves(self, packed: Expr) -> tuple[Expr, Expr]:
        pairs = self.pairs(packed)
        low = self.signed(pairs, 12, 12), self.signed(pairs, 4, 12)
        return low, (self.signed(pairs, 8, 12), self.signed(pairs, 0, 12))

    def add(self, total: Expr, codes: Expr, weights: Expr) -> Expr:
        for pair in zip(codes, weights, strict=True):
            total = total + self.v.intrinsic(self.NAMES[self.lanes], f"int32x{self.lanes}", *pair)
        return total
