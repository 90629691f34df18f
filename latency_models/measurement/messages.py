"""Messages between a process and its worker: JSON and float32 arrays, length first.

A frame is two little-endian 64-bit lengths, then JSON text (the data, and name and shape of each
array), then the numbers of the arrays one after another. It cannot carry code.
"""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from search_spaces.graphs.model import Array

HEADER = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Message:
    """JSON-ready data and named arrays."""

    data: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)


def pack(message: Message) -> list[bytes | memoryview]:
    """Returns the parts of the frame that carries ``message``; arrays are not copied."""
    arrays = [np.asarray(array, "<f4", order="C") for array in message.arrays.values()]
    shapes = [[name, array.shape] for name, array in zip(message.arrays, arrays, strict=True)]
    text = json.dumps([message.data, shapes]).encode()
    header = HEADER.pack(len(text), sum(array.nbytes for array in arrays))
    return [header, text, *(array.reshape(-1).view(np.uint8).data for array in arrays)]


def unpack(read: Callable[[int], bytes]) -> Message:
    """Returns the next message.

    Args:
        read: Returns exactly that many bytes, or raises EOFError.
    """
    text_size, arrays_size = HEADER.unpack(read(HEADER.size))
    data, shapes = json.loads(read(text_size))
    numbers = np.frombuffer(read(arrays_size), "<f4")
    arrays, start = {}, 0
    for name, shape in shapes:
        stop = start + prod(shape)
        arrays[name] = numbers[start:stop].reshape(shape)
        start = stop
    return Message(data, arrays)
