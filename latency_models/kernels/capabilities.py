"""Capabilities: what computes each precision on a CPU, and whether fewer bits are faster there.

Speeds are those of the inner loops, as multiply-accumulates in the time of one in float32 on the
same vector unit: an estimate by which a person chooses what to search. What a network takes is
measured. Integers of 4 bits are computed as those of 8; of 2 bits by counting ones, a pass for
each pair of bits of weight and map; binary weights of real maps as real numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from latency_models.kernels.cpu import Cpu, Dot, VectorUnit
from search_spaces.precision import FP32, PRECISIONS, W8A8, Precision

FMA = "fma"
# Four products of bytes at once; two of 16 bits, even and odd bytes apart; one of 16 bits.
DOT_SPEED: Mapping[Dot, float] = {"vpdpbusd": 4.0, "sdot": 4.0, "pmaddwd": 1.0, "multiply": 1.0}
# Of a binary convolution, by vector unit: what counts ones, or what takes its place.
COUNTING: Mapping[tuple[str, bool], tuple[str, float]] = {
    ("avx512", True): ("vpopcntd", 20.0),
    ("avx512", False): ("vpshufb", 4.5),
    ("avx2", False): ("vpshufb", 5.0),
    ("neon", False): ("cnt", 8.0),
    ("generic", False): ("", 3.0),
}


@dataclass(frozen=True, slots=True)
class Capability:
    """What a CPU does with one precision.

    Attributes:
        instruction: What does the work; "" where nothing stands out.
        speed: Multiply-accumulates in the time of one in float32, about.
        reason: Why the precision only saves bytes; "" where it is also faster.
    """

    precision: Precision
    instruction: str
    speed: float
    reason: str = ""

    @property
    def storage_only(self) -> bool:
        """Whether no kernel is faster than that of a precision of more bits."""
        return bool(self.reason)


def capabilities(cpu: Cpu) -> tuple[Capability, ...]:
    """Returns what ``cpu`` does with every precision, in the order of ``PRECISIONS``."""
    return capabilities_of(cpu.vector_unit)


def capabilities_of(unit: VectorUnit) -> tuple[Capability, ...]:
    return tuple(capability(unit, precision) for precision in PRECISIONS.values())


def capability(unit: VectorUnit, precision: Precision) -> Capability:
    """Returns what a vector unit does with one precision."""
    instruction, speed = computed(unit, precision)
    reason = "" if precision == FP32 else why_storage_only(unit, precision)
    return Capability(precision, instruction, speed, reason)


def computed(unit: VectorUnit, precision: Precision) -> tuple[str, float]:
    """Returns what does the work of a precision, and its speed."""
    if precision.activations == "real":
        return FMA, 1.0
    if precision.activation_bits >= 4:
        return dot_name(unit), DOT_SPEED[unit.dot]
    name, speed = COUNTING[unit.name, unit.popcount]
    return name, speed / (precision.weight_bits * precision.activation_bits)


def why_storage_only(unit: VectorUnit, precision: Precision) -> str:
    """Returns why fewer bits are not faster than float32 or 8 bits; "" where they are."""
    if precision.weights == "sign" and precision.activations == "real":
        return "computed in float32"
    _, speed = computed(unit, precision)
    _, speed_of_8 = computed(unit, W8A8)
    if speed <= 1:
        return f"no faster than float32 without {wanted(unit, precision)}"
    if precision == W8A8:
        return ""
    if precision.activation_bits >= 4:
        return "computed as w8a8"
    if speed <= speed_of_8:
        return f"no faster than w8a8 without {wanted(unit, precision)}"
    return ""


def wanted(unit: VectorUnit, precision: Precision) -> str:
    """Returns the instruction that would make a precision fast."""
    if precision.activation_bits >= 4:
        return "sdot" if unit.name == "neon" else "vpdpbusd"
    return "a vector popcount" if unit.name == "neon" else "vpopcntd"


def dot_name(unit: VectorUnit) -> str:
    """Returns the name of what multiplies 8-bit codes, as the assembly has it."""
    if unit.dot == "multiply":
        return "smlal" if unit.name == "neon" else ""
    return "vpmaddwd" if unit.dot == "pmaddwd" and unit.lanes > 4 else unit.dot
