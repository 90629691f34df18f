"""Registry of blocks: the one place that maps a block's name to its class."""

from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Choice
from search_spaces.building.layer import Layer
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Node


class Block(Protocol):
    """A block's searchable settings, and the nodes it adds where the network puts it."""

    choices: ClassVar[tuple[Choice, ...]]

    def add_to(self, net: GraphBuilder, x: Node, layer: Layer) -> Node:
        """Adds the block after ``x``.

        Returns:
            A node of shape ``(out_channels, ceil(H / stride), ceil(W / stride))``.

        Raises:
            ValueError: If the block cannot have this shape; the message names the rule.
        """
        ...


BLOCKS: dict[str, type[Block]] = {}
B = TypeVar("B", bound=type[Block])


def register_block(name: str) -> Callable[[B], B]:
    """Class decorator that adds a block to the catalogue under ``name``."""

    def register(block: B) -> B:
        if name in BLOCKS:
            raise ValueError(f"block {name!r} is already registered by {BLOCKS[name].__module__}")
        BLOCKS[name] = block
        return block

    return register


def get_block(name: str) -> type[Block]:
    """Returns the block registered under ``name``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name not in BLOCKS:
        raise UserError(f"unknown block {name!r}; known blocks: {', '.join(sorted(BLOCKS))}")
    return BLOCKS[name]
