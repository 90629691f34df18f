"""Host: what this machine's system tells of its CPU, without TVM."""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from search_spaces.graphs.errors import UserError

# Instruction sets that decide which kernels pay: LLVM's name, and the kernel's in /proc/cpuinfo.
FLAGS = {
    "sse4.2": "sse4_2",
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avxvnni": "avx_vnni",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "neon": "asimd",
    "dotprod": "asimddp",
    "fullfp16": "asimdhp",
    "i8mm": "i8mm",
    "sve": "sve",
}
KNOWN_FLAGS = frozenset(FLAGS)


@cache
def host_instruction_sets() -> frozenset[str]:
    """Returns which of ``FLAGS`` this machine's CPU has, by LLVM's names.

    Raises:
        UserError: If the system does not tell.
    """
    flags = cpuinfo().get("flags") or cpuinfo().get("Features")
    if flags is None:
        raise UserError(
            "this system has no /proc/cpuinfo that tells its instruction sets; hwnas measures on "
            "Linux"
        )
    present = set(flags.split())
    return frozenset(name for name, flag in FLAGS.items() if flag in present)


@cache
def cpu_name() -> str:
    """Returns what the maker calls this machine's CPU."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


@cache
def cpuinfo() -> Mapping[str, str]:
    """Returns the first processor's rows of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return {}
    rows = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}
