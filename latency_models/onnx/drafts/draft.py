"""Draft: a network while it is read: nodes of our operators and of pieces, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.operators import Shape

Arrays = Mapping[str, NDArray[np.float32]]


class UnreadableError(UserError):
    """A node of a file that no operator of ours computes; its message names node and operator."""


class Computes(Protocol):
    """An operator of ours, or a piece."""

    def output_shape(self, *inputs: Shape) -> Shape: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node of a draft comes from.

    Attributes:
        node: Name of the ONNX node, or of the value that it gives.
        kind: Its operator.
        value: The ONNX value whose numbers the map holds; "" where none does.
        name: What the node is to be called, before that is made unique.
    """

    node: str
    kind: str
    value: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.node!r}"


@dataclass(frozen=True, slots=True, eq=False)
class DraftNode:
    """One node; its arrays are named as an operator names them."""

    name: str
    operator: Any
    inputs: tuple[str, ...]
    shape: Shape
    arrays: Arrays
    origin: Origin


@dataclass(slots=True)
class Draft:
    """The nodes so far, each behind those that it reads.

    Attributes:
        output: The map that the network gives, once it is known.
    """

    input_shape: Shape
    nodes: dict[str, DraftNode] = field(default_factory=dict)
    output: str = INPUT
    count: int = 0

    def shape(self, name: str) -> Shape:
        return self.input_shape if name == INPUT else self.nodes[name].shape

    def operator(self, name: str) -> Any:  # noqa: ANN401  (an operator or a piece)
        """What computes a map; None for the input."""
        return None if name == INPUT else self.nodes[name].operator

    def add(
        self,
        operator: Computes,
        inputs: tuple[str, ...],
        origin: Origin,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> str:
        """Adds a node behind all others and returns its name.

        Raises:
            UnreadableError: If the operator cannot take these maps.
        """
        node = self.made(operator, inputs, origin, arrays)
        self.nodes[node.name] = node
        return node.name

    def made(
        self,
        operator: Computes,
        inputs: tuple[str, ...],
        origin: Origin,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> DraftNode:
        """Returns a node of a name of its own, without adding it."""
        try:
            shape = operator.output_shape(*map(self.shape, inputs))
        except ValueError as error:
            raise UnreadableError(f"{origin}: {error}") from None
        self.count += 1
        kept = {name: np.asarray(array, np.float32) for name, array in (arrays or {}).items()}
        return DraftNode(f"%{self.count}", operator, inputs, shape, kept, origin)

    def readers(self) -> dict[str, list[DraftNode]]:
        """Returns the nodes that read each map."""
        found: dict[str, list[DraftNode]] = {name: [] for name in (INPUT, *self.nodes)}
        for node in self.nodes.values():
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return found

    def put(self, node: DraftNode, **changed: Any) -> None:  # noqa: ANN401
        """Makes a node another one of the same name."""
        self.nodes[node.name] = replace(node, **changed)

    def tidy(self) -> None:
        """Leaves out what the output does not depend on, and puts the rest in order."""
        order: dict[str, DraftNode] = {}
        read = self.ancestors(self.output)
        for start in self.nodes:
            left = [start] if start in read else []
            while left:
                inputs = self.nodes[left[-1]].inputs
                missing = [each for each in inputs if each != INPUT and each not in order]
                if missing:
                    left += missing
                else:
                    name = left.pop()
                    order.setdefault(name, self.nodes[name])
        self.nodes = order

    def ancestors(self, name: str) -> set[str]:
        """Returns the nodes on which a map depends, its own included."""
        found: set[str] = set()
        left = [name]
        while left:
            each = left.pop()
            if each != INPUT and each not in found:
                found.add(each)
                left += self.nodes[each].inputs
        return found
