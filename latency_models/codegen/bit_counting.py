"""Counting ones: what each instruction set offers to sum the ones of many words, lane by lane.

Either an instruction counts the ones of every lane, or those of every byte are counted and added
up in bytes, 31 words at most, before the bytes of a lane are summed. Where that is dear and any
function of three vectors is one instruction (AVX512), words are first added as bits, by carry-save
adders: two words become one of twice the weight, and only every fourth is counted.

*Source:* Mula, Kurz, Lemire, "Faster Population Counts Using AVX2 Instructions", The Computer
Journal 2018, https://arxiv.org/abs/1611.07612, sections 3 and 4.

*Differs from the paper:* the words that are added are joined from two operands by the adder's own
instructions; there are two levels of adders and not four, as many as the registers allow for all
sums of a tile. Where an instruction counts the ones of lanes, adders were measured to be slower
(Zen 4), and are not used.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from latency_models.codegen.emitter import Expr, T, Vectors
from latency_models.devices.cpu import VectorUnit

Join = Literal["xor", "and"]
Pair = tuple[Expr, Expr]  # a word of a map in every lane, and a vector of words of weights
BYTE_ADDS = 31  # a byte has 8 ones at most, and counts to 255
CARRIES_PAY = 8  # words of a sum from which adders are worth their end
# Functions of three inputs as ternary logic takes them: the result for bits a, b, c is bit
# 4 a + 2 b + c of the number. These three make such numbers of expressions.
A, B, C = 0xF0, 0xCC, 0xAA
JOINED: dict[Join, int] = {"xor": B ^ C, "and": B & C}
PARITY = A ^ B ^ C
MAJORITY = A & B | A & C | B & C
CARRY = A & ~B | ~A & C  # with a the parity of c and one input, b that of all three


def joined(join: Join, code: Expr, weight: Expr) -> Expr:
    """The word whose ones count."""
    return T.bitwise_xor(code, weight) if join == "xor" else T.bitwise_and(code, weight)


class Counter(ABC):
    """The sums of a tile being counted: one for each cell, a pixel of a vector of channels.

    Attributes:
        downwards: Whether what is counted is taken from the sums; may change when nothing is left
            apart.
        registers: Vector registers that a cell takes.
        constants: Those that all cells share.
        step: Words of a cell that are best added together.
        limit: Words that may be added before ``settle``.
        operations: Of one word, about, to rank tiles by.
    """

    registers: ClassVar[int] = 1
    constants: ClassVar[int] = 0
    step: ClassVar[int] = 1
    limit: ClassVar[int] = 1 << 30
    operations: ClassVar[float] = 3

    def __init__(self, vectors: Vectors, starts: Sequence[Expr]) -> None:
        self.v, self.lanes = vectors, vectors.lanes
        self.kind = f"uint32x{self.lanes}"
        self.downwards = False
        # TVM tells LLVM that unsigned numbers never pass zero, so sums are signed.
        self.sums = vectors.registers(len(starts), "int32")
        for register, start in zip(self.sums, starts, strict=True):
            vectors.put(register, start)

    @abstractmethod
    def add(self, cell: int, join: Join, pairs: Sequence[Pair]) -> None:
        """Counts at most ``step`` words."""

    def settle(self) -> None:  # noqa: B027  where nothing is counted apart
        """Adds to the sums what was counted apart."""

    def end(self) -> None:
        """As ``settle``, and nothing is left."""
        self.settle()

    def double(self) -> None:
        """Doubles the sums, of which nothing is left apart."""
        for register in self.sums:
            self.v.put(register, self.v.get(register) + self.v.get(register))

    def count_on(self, cell: int, ones: Expr) -> None:
        total = self.v.get(self.sums[cell])
        ones = T.reinterpret(f"int32x{self.lanes}", ones)
        self.v.put(self.sums[cell], total - ones if self.downwards else total + ones)


class LaneCounter(Counter):
    """An instruction counts the ones of every lane."""

    def add(self, cell: int, join: Join, pairs: Sequence[Pair]) -> None:
        for code, weight in pairs:
            self.count_on(cell, T.popcount(joined(join, code, weight)))


class ByteCounter(Counter):
    """The ones of every byte are counted, and added up in bytes."""

    constants: ClassVar[int] = 2
    limit: ClassVar[int] = BYTE_ADDS
    operations: ClassVar[float] = 8

    def __init__(self, vectors: Vectors, starts: Sequence[Expr]) -> None:
        super().__init__(vectors, starts)
        self.every = T.ramp(0, 1, 4 * self.lanes)
        self.counts = [
            T.alloc_buffer((4 * self.lanes,), "uint8", scope="local") for _ in self.sums
        ]
        self.clear()

    def clear(self) -> None:
        for register in self.counts:
            zero = T.broadcast(T.Cast("uint8", T.int32(0)), 4 * self.lanes)
            T.buffer_store(register, zero, [self.every])

    def add(self, cell: int, join: Join, pairs: Sequence[Pair]) -> None:
        for code, weight in pairs:
            self.count(cell, joined(join, code, weight))

    def count(self, cell: int, word: Expr) -> None:
        register = self.counts[cell]
        T.buffer_store(register, register[self.every] + self.ones_of(word), [self.every])

    def ones_of(self, word: Expr) -> Expr:
        """The ones of each byte."""
        return T.bind(T.popcount(T.reinterpret(f"uint8x{4 * self.lanes}", word)))

    def settle(self) -> None:
        for cell, register in enumerate(self.counts):
            self.count_on(cell, self.lane_sums(register[self.every]))
        self.clear()

    def lane_sums(self, counts: Expr) -> Expr:
        """The sum of the four bytes of each lane."""
        words = T.bind(T.reinterpret(self.kind, counts))
        even = self.word(0x00FF00FF)
        odd = T.bitwise_and(T.shift_right(words, self.word(8)), even)
        halves = T.bind(T.bitwise_and(words, even) + odd)
        high = T.shift_right(halves, self.word(16))
        return T.bind(T.bitwise_and(halves, self.word(0xFFFF)) + high)

    def word(self, value: int) -> Expr:
        return T.broadcast(T.uint32(value), self.lanes)


class CarryCounter(ByteCounter):
    """Words are added as bits, and of four one is counted, by bytes.

    A cell has counted 4 times its bytes, 2 times the ones of ``twos`` and those of ``ones``.
    """

    registers: ClassVar[int] = 3
    step: ClassVar[int] = 4
    limit: ClassVar[int] = BYTE_ADDS * 4
    operations: ClassVar[float] = 3.75

    def __init__(self, vectors: Vectors, starts: Sequence[Expr]) -> None:
        self.ones = vectors.registers(len(starts), "uint32")
        self.twos = vectors.registers(len(starts), "uint32")
        super().__init__(vectors, starts)
        self.clear_bits()

    def clear_bits(self) -> None:
        for register in (*self.ones, *self.twos):
            self.v.put(register, self.word(0))

    def add(self, cell: int, join: Join, pairs: Sequence[Pair]) -> None:
        carries = [self.carry(cell, join, pairs[i : i + 2]) for i in range(0, len(pairs), 2)]
        assert 1 <= len(carries) <= 2
        twos = T.bind(self.v.get(self.twos[cell]))
        if len(carries) == 2:
            self.v.put(self.twos[cell], self.logic(PARITY, twos, *carries))
            self.count(cell, self.logic(MAJORITY, twos, *carries))
        else:
            self.v.put(self.twos[cell], T.bitwise_xor(twos, carries[0]))
            self.count(cell, T.bind(T.bitwise_and(twos, carries[0])))

    def carry(self, cell: int, join: Join, pairs: Sequence[Pair]) -> Expr:
        """Adds one word or two to ``ones``, and returns what is carried: a word of weight 2."""
        before = T.bind(self.v.get(self.ones[cell]))
        parities = [before]
        for code, weight in pairs:
            parities.append(self.logic(A ^ JOINED[join], parities[-1], code, weight))
        self.v.put(self.ones[cell], parities[-1])
        if len(pairs) == 1:
            return T.bind(T.bitwise_and(before, T.bitwise_not(parities[1])))
        return self.logic(CARRY, parities[1], parities[2], before)

    def logic(self, function: int, a: Expr, b: Expr, c: Expr) -> Expr:
        name = "llvm.x86.avx512.pternlog.d.512"
        return T.bind(self.v.intrinsic(name, self.kind, a, b, c, T.int32(function & 255)))

    def lane_sums(self, counts: Expr) -> Expr:
        return T.bind(T.shift_left(super().lane_sums(counts), self.word(2)))

    def end(self) -> None:
        self.settle()
        for cell, (ones, twos) in enumerate(zip(self.ones, self.twos, strict=True)):
            twice = self.ones_of(self.v.get(twos))
            left = self.ones_of(self.v.get(ones)) + twice + twice
            self.count_on(cell, super().lane_sums(left))
        self.clear_bits()


def counter_kind(unit: VectorUnit, words: int) -> type[Counter]:
    """Returns what counts sums of so many words fastest."""
    if unit.popcount:
        return LaneCounter
    if unit.name == "avx512" and words > CARRIES_PAY:
        return CarryCounter
    return ByteCounter


def instruction(unit: VectorUnit) -> str:
    """Returns the name of the instruction that counts; "" where it takes many."""
    names: dict[str, str] = {"avx512": "vpshufb", "avx2": "vpshufb", "neon": "cnt"}
    return "vpopcntd" if unit.popcount else names.get(unit.name, "")
