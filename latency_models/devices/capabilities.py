"""Capabilities: what computes each precision on a CPU, and whether fewer bits are faster there.

Speeds are multiply-accumulates in the time of one in float32 on the same vector unit: an estimate
by which a person chooses what to search; what a network takes is measured. Those of x86 were timed
with our kernels, compiled for each instruction set and run on a znver4, as geometric means over
five convolutions of 64 to 256 channels; those of NEON count instructions.

Integers of 4 bits are computed as those of 8, and binary weights of real maps as real numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from latency_models.devices.cpu import Cpu, VectorUnit
from search_spaces.graphs.precision import FP32, PRECISIONS, W8A8, Precision

FMA = "fma"
# Of 8-bit codes, by vector unit and what multiplies them.
DOT_SPEEDS: Mapping[tuple[str, str], float] = {
    ("avx512", "vpdpbusd"): 4.0,
    ("avx512", "pmaddwd"): 1.5,
    ("avx2", "vpdpbusd"): 4.0,
    ("avx2", "pmaddwd"): 1.6,
    ("generic", "pmaddwd"): 2.0,  # beside a product and a sum in float32
    ("generic", "multiply"): 0.5,
    ("neon", "sdot"): 4.0,
    ("neon", "multiply"): 1.0,
}


@dataclass(frozen=True, slots=True)
class Counting:
    """How a vector unit counts ones, and how fast convolutions of bits are by it.

    Attributes:
        instruction: "" where many plain ones take its place.
    """

    instruction: str
    xnor: float
    w1a2: float
    w2a2: float


# By vector unit, and whether it counts the ones of every lane in one instruction.
COUNTING: Mapping[tuple[str, bool], Counting] = {
    ("avx512", True): Counting("vpopcntd", 17.0, 9.0, 4.3),
    ("avx512", False): Counting("vpshufb", 10.0, 5.0, 2.2),
    ("avx2", False): Counting("vpshufb", 11.0, 4.5, 1.8),
    ("generic", False): Counting("", 8.0, 3.0, 1.5),
    ("neon", False): Counting("cnt", 8.0, 4.0, 2.0),
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
    return tuple(capability(cpu.vector_unit, precision) for precision in PRECISIONS.values())


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
        return dot_name(unit), DOT_SPEEDS[unit.name, unit.dot]
    counting = COUNTING[unit.name, unit.popcount]
    speeds = {(1, 1): counting.xnor, (1, 2): counting.w1a2, (2, 2): counting.w2a2}
    return counting.instruction, speeds[precision.weight_bits, precision.activation_bits]


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
