"""Memory: the memories that a network's kernels work on, and where each buffer lies in them.

Buffers that are never in use at the same step may share memory. Placed one by one, largest first,
each at the lowest offset where it fits (greedy by size; Pisarchyk and Lee, "Efficient Memory
Management for Deep Neural Net Inference", 2020, https://arxiv.org/abs/2001.03288).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer's size in bytes, and the first and last step that touch it."""

    size: int
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Offset of each buffer, and the size of the workspace, in bytes."""

    offsets: tuple[int, ...]
    size: int


def plan_memory(buffers: Sequence[Lifetime]) -> MemoryPlan:
    """Returns offsets at which no two buffers that live at the same step overlap."""
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, i))
    offsets: dict[int, int] = {}
    for index in order:
        buffer = buffers[index]
        taken = sorted(
            (offsets[other], offsets[other] + aligned(buffers[other].size))
            for other in offsets
            if buffers[other].first_step <= buffer.last_step
            and buffer.first_step <= buffers[other].last_step
        )
        place = 0
        for start, end in taken:
            if place + aligned(buffer.size) <= start:
                break
            place = max(place, end)
        offsets[index] = place
    size = max((offsets[i] + aligned(b.size) for i, b in enumerate(buffers)), default=0)
    return MemoryPlan(tuple(offsets[i] for i in range(len(buffers))), size)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


Memory = Literal["input", "weights", "workspace", "output"]
MEMORIES: tuple[Memory, ...] = ("input", "weights", "workspace", "output")
# What each memory is made of: the caller's tensors are real, the others hold anything.
ELEMENTS: Mapping[Memory, tuple[str, int]] = {
    "input": ("float32", 4),
    "weights": ("uint8", 1),
    "workspace": ("uint8", 1),
    "output": ("float32", 4),
}


@dataclass(frozen=True, slots=True)
class Address:
    """A place in one of the memories, in bytes from its start."""

    memory: Memory
    offset: int
