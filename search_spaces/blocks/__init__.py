"""Block catalogue. Importing a block module registers it; this list is the whole catalogue."""

from search_spaces.blocks import depthwise_separable as depthwise_separable
from search_spaces.blocks import factorised as factorised
from search_spaces.blocks import fire as fire
from search_spaces.blocks import ghost as ghost
from search_spaces.blocks import inverted_residual as inverted_residual
from search_spaces.blocks import plain as plain
from search_spaces.blocks import residual as residual
from search_spaces.blocks import shuffle_v1 as shuffle_v1
from search_spaces.blocks import shuffle_v2 as shuffle_v2
from search_spaces.blocks import skip as skip
from search_spaces.blocks import xception as xception
from search_spaces.blocks.registry import BLOCKS as BLOCKS
from search_spaces.blocks.registry import Block as Block
from search_spaces.blocks.registry import get_block as get_block
