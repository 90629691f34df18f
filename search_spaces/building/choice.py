"""A choice: one named decision with a finite, ordered set of values."""

from collections.abc import Callable
from dataclasses import dataclass

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a search space.

    Attributes:
        name: Identifier, unique within its block or space, e.g. ``"kernel_size"``.
        values: Allowed values, in order.

    Raises:
        ValueError: If ``values`` is empty or holds duplicates.
    """

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"choice {self.name!r} needs at least one value, got none")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"choice {self.name!r} has duplicate values: {self.values}")


Pick = Callable[[Choice], Value]
