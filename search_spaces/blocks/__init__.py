"""Block catalogue. Importing a block module registers it; this list is the whole catalogue."""

from search_spaces.blocks import inverted_residual as inverted_residual
from search_spaces.blocks.registry import BLOCKS as BLOCKS
from search_spaces.blocks.registry import Block as Block
from search_spaces.blocks.registry import get_block as get_block
