"""Half precision: the 16-bit type that layers run in while a network is trained."""

from collections.abc import Set as AbstractSet

import torch

from latency_models.devices.host import cpu_name, cpuinfo
from search_spaces.graphs.errors import UserError

NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # as /proc/cpuinfo calls them


def half_type(
    device: torch.device, asked: str, flags: AbstractSet[str] | None = None
) -> torch.dtype | None:
    """Returns the 16-bit type of a training, None for float32 throughout.

    ``auto`` is bfloat16 with CUDA, or float16 where a GPU has none, and off on CPUs
    (docs/decisions/024-fast-training.md).

    Args:
        asked: ``auto``, ``bfloat16`` or ``off``.
        flags: What the CPU can; None asks this machine's.

    Raises:
        UserError: If bfloat16 is asked for where it would be emulated.
    """
    if asked == "off":
        return None
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(False):
            return torch.bfloat16
        refuse(asked == "bfloat16", torch.cuda.get_device_name(device))
        return torch.float16
    if asked == "auto":
        return None
    known = flags if flags is not None else cpu_flags()
    refuse(not known & NATIVE, cpu_name())
    return torch.bfloat16


def cpu_flags() -> frozenset[str]:
    rows = cpuinfo()
    return frozenset((rows.get("flags") or rows.get("Features") or "").split())


def refuse(emulates: bool, name: str) -> None:
    if emulates:
        raise UserError(
            "training mixed_precision bfloat16 needs a processor that computes in it (AVX512-BF16,"
            f" AMX, bf16 of 64-bit ARM, or such a GPU), got {name}, which would emulate it many "
            "times slower; set it to auto or off"
        )
