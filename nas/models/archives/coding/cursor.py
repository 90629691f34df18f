"""Cursor: bytes that are read from front to back, none of them trusted."""

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

NUMBER_BYTES = 9  # of the longest varint: 63 bits


class Cursor:
    """A place in bytes that never goes past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int, what: str) -> bytes:
        """Returns the next bytes.

        Raises:
            UserError: If there are not that many.
        """
        if count > self.left:
            raise UserError(f"{what} must have {count} bytes, {self.left} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def number(self, what: str, most: int) -> int:
        """Returns the next varint, seven bits a byte, the lowest first.

        Raises:
            UserError: If it is cut off, or above ``most``.
        """
        value = 0
        for index in range(NUMBER_BYTES):
            byte = self.byte(what)
            value |= (byte & 127) << 7 * index
            if byte < 128:
                break
        else:
            raise UserError(f"{what} is a number of more than {NUMBER_BYTES} bytes")
        if value > most:
            raise UserError(f"{what} must be at most {most}, got {value}")
        return value

    def length(self, what: str) -> int:
        """Returns the next varint: bytes, which `take` holds against what is left."""
        return self.number(what, 1 << 7 * NUMBER_BYTES)

    def floats(self, count: int, what: str) -> NDArray[np.float32]:
        found = np.frombuffer(self.take(4 * count, what), "<f4").astype(np.float32)
        return found

    def rest(self) -> bytes:
        return self.take(self.left, "the rest")

    def end(self, what: str) -> None:
        """Raises UserError if bytes are left over."""
        if self.left:
            raise UserError(f"{what} must end here, {self.left} bytes are left")


def number_bytes(value: int) -> bytes:
    """
    >>> number_bytes(5), number_bytes(300)
    (b'\\x05', b'\\xac\\x02')
    """
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def float_bytes(array: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()
