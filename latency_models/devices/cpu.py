"""CPU targets: which machine code to emit, and how wide its vectors are."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from search_spaces.graphs.errors import UserError

# What LLVM may use of its own accord, by the beginning of its names.
INSTRUCTION_SETS = (
    *("sse", "ssse", "avx", "fma", "f16c", "bmi", "popcnt", "lzcnt", "movbe", "gfni", "egpr"),
    *("neon", "dotprod", "fullfp16", "rdm", "complxnum", "sha3", "i8mm", "bf16", "sve", "sme"),
    *("cssc", "mops"),
)
Dot = Literal["vpdpbusd", "pmaddwd", "sdot", "multiply"]


@dataclass(frozen=True, slots=True)
class VectorUnit:
    """What the register tiles are cut to.

    Attributes:
        lanes: float32 numbers of one vector register.
        registers: How many vector registers there are.
        masked_stores: Whether storing only some lanes is one instruction.
        dot: What multiplies and sums 8-bit codes: four products at once and exact (vpdpbusd of
            unsigned by signed, sdot of signed codes), two 16-bit ones (pmaddwd), or one.
        popcount: Whether counting the ones of every lane is one instruction.
    """

    name: str
    lanes: int
    registers: int
    masked_stores: bool
    dot: Dot = "multiply"
    popcount: bool = False


AVX512 = VectorUnit("avx512", 16, 32, True)
AVX2 = VectorUnit("avx2", 8, 16, True)
NEON = VectorUnit("neon", 4, 32, False)
GENERIC = VectorUnit("generic", 4, 16, False)


@dataclass(frozen=True, slots=True)
class Cpu:
    """One processor to compile for.

    Attributes:
        mcpu: LLVM's name of the exact processor; "" is the plainest of its family.
        triple: LLVM's name of the platform; "" is the one that this process runs on.
    """

    mcpu: str = ""
    triple: str = ""

    def __post_init__(self) -> None:
        if self.mcpu == "native":
            raise UserError("mcpu 'native' is silently generic in TVM; give the exact processor")

    @property
    def target(self) -> Any:  # noqa: ANN401  tvm.target.Target, which is untyped
        """The TVM target.

        Raises:
            UserError: If LLVM does not know the processor.
        """
        import tvm

        config: dict[str, object] = {"kind": "llvm", "num-cores": 1, "opt-level": 2}
        if self.triple:
            config["mtriple"] = self.triple
        if self.mcpu:
            config["mcpu"] = self.mcpu
        target = tvm.target.Target(config)
        if self.mcpu and self.mcpu not in map(str, known_cpus(target)):
            raise UserError(f"LLVM knows no processor {self.mcpu!r}; see `llc -mcpu=help`")
        return target

    @property
    def platform(self) -> str:
        """LLVM's name of the platform, this process's own included."""
        from tvm.target import codegen

        return self.triple or str(codegen.llvm_get_system_triple())

    @property
    def architecture(self) -> str:
        """LLVM's name of the family of processors, for example "aarch64"."""
        return self.platform.partition("-")[0]

    @property
    def features(self) -> frozenset[str]:
        """The instruction sets that code for this processor may use, by LLVM's names."""
        return features_of(self)

    @property
    def vector_unit(self) -> VectorUnit:
        """The widest vectors that this processor has."""
        return vector_unit_of(self.features)


def vector_unit_of(features: frozenset[str]) -> VectorUnit:
    """Returns the widest vectors among instruction sets, given by LLVM's names."""
    if {"avx512f", "avx512vl", "avx512bw"} <= features:
        dot: Dot = "vpdpbusd" if "avx512vnni" in features else "pmaddwd"
        return replace(AVX512, dot=dot, popcount="avx512vpopcntdq" in features)
    if {"avx2", "fma"} <= features:
        return replace(AVX2, dot="vpdpbusd" if "avxvnni" in features else "pmaddwd")
    if "neon" in features:
        return replace(NEON, dot="sdot" if "dotprod" in features else "multiply")
    return replace(GENERIC, dot="pmaddwd" if "sse2" in features else "multiply")


@cache
def features_of(cpu: Cpu) -> frozenset[str]:
    from tvm.target import codegen

    return instruction_sets(map(str, codegen.llvm_get_cpu_features(cpu.target)))


def instruction_sets(features: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in features if name.startswith(INSTRUCTION_SETS))


def host_cpu() -> Cpu:
    """Returns the exact processor that this process runs on."""
    from tvm.target import codegen

    return Cpu(str(codegen.llvm_get_system_cpu()))


@cache
def host_features() -> frozenset[str]:
    """Returns the instruction sets that this machine really offers.

    A system may hide some that its processor's name promises.
    """
    from tvm import get_global_func

    told = get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")().items()
    offered = {str(name) for name, has in told if has}
    hidden = {str(name) for name, has in told if not has}
    return instruction_sets(host_cpu().features - hidden | offered)


def known_cpus(target: Any) -> list[Any]:  # noqa: ANN401  tvm is untyped
    from tvm.target import codegen

    return list(codegen.llvm_get_cpu_archlist(target))
