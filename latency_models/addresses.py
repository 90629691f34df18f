"""Addresses: places in the memories that the kernels of a network work on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
